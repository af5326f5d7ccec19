import pytest

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import DataError
from fst_cli.data.files import read_json
from fst_cli.data.records import Rollout, Sampling
from fst_cli.engines.collect import collect, group_slots
from fst_cli.engines.reuse import claim, load_kept
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.journal import Journal
from fst_cli.fast.population import make_prompt
from fst_cli.slow.settings import TrainSettings
from fst_cli.stages.rollout import rollout_stage
from fst_cli.stages.train import train_stage
from fst_cli.tasks import math

SAMPLING = Sampling(max_tokens=16)


@pytest.fixture
def setting(tmp_path):
    problems = list(math.problems(math.MathOptions(difficulty=1), "train", 4, 0))
    prompts = [make_prompt(math.SEED_PROMPT), make_prompt("Add.")]
    jsonl.write(tmp_path / "problems.jsonl", problems)
    jsonl.write(tmp_path / "prompts.jsonl", prompts)
    return tmp_path, problems, prompts


def roll(mini, folder, out, reuse=None):
    return rollout_stage(
        lambda: mini, folder / "problems.jsonl", folder / "prompts.jsonl", folder / out, group_size=4,
        sampling=SAMPLING, seed=0, reuse=reuse,
    )  # fmt: skip


def test_a_kept_rollout_is_claimed_once_and_the_rest_are_sampled(mini, setting):
    folder, *_ = setting
    live = roll(mini, folder, "live.jsonl")
    rows, arrays = list(jsonl.read(folder / "live.jsonl", Rollout)), tensors.read(folder / "live.safetensors")
    kept = rows[:5]  # problem 0: two under each prompt; problem 1: one under the first
    tensors.write(folder / "evaluations.safetensors", arrays[:5])
    jsonl.write(folder / "evaluations.jsonl", kept)
    figures = roll(mini, folder, "reused.jsonl", folder / "evaluations.jsonl")
    assert figures["reused"] == 5 and figures["reused_share"] == 5 / 16 and live["reused"] == 0
    assert figures["generated_tokens"] == live["generated_tokens"] - sum(r.completion_tokens for r in kept)
    again = list(jsonl.read(folder / "reused.jsonl", Rollout))
    assert [r.reused for r in again] == [True] * 5 + [False] * 11
    # Kept or live, the same rollouts in the same places: only the mark differs.
    assert [r.model_copy(update={"reused": False}) for r in again] == rows
    assert set(read_json(folder / "reused.stage.json")["inputs"]) == {"problems", "prompts", "reuse"}


def test_advantages_and_loss_are_the_same_whether_a_rollout_came_live_or_kept(mini, setting):
    folder, *_ = setting
    roll(mini, folder, "live.jsonl")
    roll(mini, folder, "reused.jsonl", folder / "live.jsonl")
    from fst_cli.policy.model import load_policy

    settings = TrainSettings(method="lora", learning_rate=1e-3, kl_coefficient=0.0, micro_tokens=4096)
    found = [
        train_stage(lambda: load_policy("mini"), folder / name, folder / name[0], settings=settings, seed=0, state=None)
        for name in ("live.jsonl", "reused.jsonl")
    ]
    for name in ("loss", "grad_norm", "policy", "ratio_quantiles", "reward_mean"):
        assert found[0][name] == found[1][name]


def test_only_what_was_sampled_alike_matches(mini, setting):
    _, problems, prompts = setting
    slots = group_slots(problems, prompts, 4)
    found = collect(mini, TransformersEngine(mini), slots[:4], SAMPLING, (1,), "")
    kept = list(zip(found.rollouts, found.tokens, strict=True))
    assert len(claim(kept, slots, SAMPLING, mini.template)) == 4
    assert not claim(kept, slots, Sampling(max_tokens=17), mini.template)
    assert not claim(kept, slots, SAMPLING, "another template")
    assert not claim(kept, group_slots(problems, [make_prompt("Other.")], 4), SAMPLING, mini.template)
    broken = [(r.model_copy(update={"score": r.score.model_copy(update={"status": "error"})}), t) for r, t in kept]
    assert not claim(broken, slots, SAMPLING, mini.template)


def test_a_kept_rollout_with_a_tools_turns_keeps_them_and_its_mask(mini, calculator, tmp_path):
    jsonl.write(tmp_path / "problems.jsonl", calculator)
    jsonl.write(tmp_path / "prompts.jsonl", [make_prompt("")])
    for out, reuse in (("live.jsonl", None), ("reused.jsonl", tmp_path / "live.jsonl")):
        figures = rollout_stage(
            lambda: mini, tmp_path / "problems.jsonl", tmp_path / "prompts.jsonl", tmp_path / out, group_size=2,
            sampling=Sampling(max_tokens=120), seed=0, reuse=reuse,
        )  # fmt: skip
    assert figures["reused_share"] == 1 and figures["generated_tokens"] == 0
    live, reused = (list(jsonl.read(tmp_path / name, Rollout)) for name in ("live.jsonl", "reused.jsonl"))
    assert [r.turns for r in reused] == [r.turns for r in live] and any(r.turns for r in live)
    assert (tmp_path / "reused.safetensors").read_bytes() == (tmp_path / "live.safetensors").read_bytes()


def test_an_evolutions_journal_keeps_turns_and_mask(mini, calculator, tmp_path):
    def make():
        slots = group_slots(calculator, [make_prompt("")], 2)
        found = collect(mini, TransformersEngine(mini), slots, Sampling(max_tokens=120), (0,), "")
        return found.rollouts, found.tokens

    (made, arrays), (read, again) = (Journal(tmp_path / "journal", {}).rollouts(["x"], make) for _ in range(2))
    assert read == made and any(rollout.turns for rollout in read)
    assert [row.sampled.tolist() for row in again] == [row.sampled.tolist() for row in arrays]


def test_a_kept_rollout_without_its_tokens_is_a_data_error(mini, setting):
    folder, *_ = setting
    roll(mini, folder, "live.jsonl")
    rows = list(jsonl.read(folder / "live.jsonl", Rollout))
    jsonl.write(folder / "live.jsonl", [rows[0].model_copy(update={"row": None})])
    with pytest.raises(DataError, match="row None"):
        load_kept(folder / "live.jsonl")
