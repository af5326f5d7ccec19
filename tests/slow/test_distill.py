import numpy as np
import pytest
import torch

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import DataError
from fst_cli.data.records import Rollout
from fst_cli.fast.population import make_prompt
from fst_cli.policy import logprobs
from fst_cli.policy.chat import render
from fst_cli.policy.model import load_policy
from fst_cli.stages.train import Teacher

PROMPTS = [make_prompt("Put your final answer inside \\boxed{}."), make_prompt("Write the answer only.")]


@pytest.fixture(scope="module")
def rollouts(roll_out):
    """The student's own completions of the problems alone: 4 problems, 4 samples."""
    return roll_out("")


@pytest.fixture
def files(tmp_path, problems):
    jsonl.write(tmp_path / "problems.jsonl", problems)
    jsonl.write(tmp_path / "prompts.jsonl", PROMPTS)
    return tmp_path / "problems.jsonl", tmp_path / "prompts.jsonl"


def by_hand(path, problems, weights=None):
    """Loss and gradient of all weights in float64: every position's KL from the student to the model under φ."""
    policy, teacher = load_policy("mini"), load_policy("mini", weights)
    student = policy.model.double().requires_grad_(True)
    loss, by_id = torch.zeros((), dtype=torch.float64), {problem.id: problem for problem in problems}
    rows, found = tensors.read(tensors.beside(path)), list(jsonl.read(path, Rollout))

    def logp_TV(model, prompt_ids, completion_ids):
        logits_TV = model(input_ids=torch.tensor([prompt_ids + completion_ids])).logits[0]
        return torch.log_softmax(logits_TV[len(prompt_ids) - 1 : -1], -1)

    for rollout, row in zip(found, rows, strict=True):
        prompt = PROMPTS[rollout.sample % 2]
        under = render(policy.tokenizer, prompt, by_id[rollout.problem_id], policy.context)
        p_TV = logp_TV(student, row.prompt_ids, row.completion_ids)
        with torch.no_grad():
            q_TV = logp_TV(teacher.model.double(), under, row.completion_ids)
        tokens = sum(other.completion_tokens for other in found if other.problem_id == rollout.problem_id)
        loss = loss + (p_TV.exp() * (p_TV - q_TV)).sum() / tokens / len(problems)
    loss.backward()
    return loss.item(), torch.sqrt(sum((p.grad**2).sum() for p in student.parameters())).item()


@pytest.mark.parametrize("chunk", [3000, 1 << 24])
def test_loss_and_gradient_equal_a_float64_computation(step, rollouts, problems, files, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", chunk)
    metrics, _ = step(rollouts, tmp_path, method="full", loss="distill", kl_coefficient=None, teacher=Teacher(*files))
    loss, norm = by_hand(rollouts, problems)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-4) and loss > 0.1
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert metrics["kl_to_teacher"] > 0 and "clip_interval" not in metrics


def test_a_frozen_teacher_of_other_weights_is_the_one_that_is_followed(step, rollouts, problems, files, tmp_path):
    step(rollouts, tmp_path / "0", method="full", learning_rate=1e-3)
    weights = tmp_path / "0" / "weights"
    teacher = Teacher(*files, lambda: load_policy("mini", weights), weights)
    metrics, _ = step(rollouts, tmp_path / "1", method="full", loss="distill", teacher=teacher)
    assert metrics["loss"] == pytest.approx(by_hand(rollouts, problems, weights)[0], rel=1e-4)
    assert metrics["loss"] != pytest.approx(by_hand(rollouts, problems)[0], rel=1e-3)


def test_some_steps_bring_the_student_nearer_to_the_teacher(step, rollouts, files, tmp_path):
    kls, weights = [], None
    for number in range(4):
        teacher = Teacher(*files, lambda: load_policy("mini"))
        metrics, _ = step(rollouts, tmp_path / str(number), weights, teacher, loss="distill", learning_rate=3e-3)
        weights = tmp_path / str(number) / "weights"
        kls.append(metrics["kl_to_teacher"])
    assert all(np.diff(kls) < 0) and kls[-1] < 0.8 * kls[0]


def test_a_rollout_of_an_unknown_problem_is_a_data_error(step, rollouts, problems, files, tmp_path):
    jsonl.write(files[0], problems[1:])
    with pytest.raises(DataError, match="not among the problems"):
        step(rollouts, tmp_path / "x", loss="distill", teacher=Teacher(*files))
    assert not (tmp_path / "x" / "train.json").exists()
