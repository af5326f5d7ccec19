from dataclasses import replace

import numpy as np
import pytest
import torch

from fst_cli.data.records import Sampling
from fst_cli.engines.collect import Slot, collect
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.measure.divergence import measure, records, summarise, token_divergence, token_records, top_tokens
from fst_cli.policy.logprobs import TokenSequence
from fst_cli.policy.model import make_trainable
from fst_cli.tasks import math

SEQUENCES = [TokenSequence([7, 9, 11], [20, 30, 40, 50]), TokenSequence([7, 9], [60])]


def moved(policy, method):
    make_trainable(policy, method, 4, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return policy


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_kl_is_exact_over_the_vocabulary(mini, fresh_mini, method, temperature):
    policy = moved(fresh_mini, method)
    found = token_divergence(policy, SEQUENCES, temperature)
    row = 0
    for sequence in SEQUENCES:
        ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
        with torch.no_grad():
            p, q = (torch.log_softmax(m(input_ids=ids).logits[0].double() / temperature, -1)
                    for m in (policy.model, mini.model))  # fmt: skip
        for place, token in enumerate(sequence.completion_ids, start=len(sequence.prompt_ids) - 1):
            kl = (p[place].exp() * (p[place] - q[place])).sum().item()
            k1 = (p[place] - q[place])[token].item()
            reverse = (q[place].exp() * (q[place] - p[place])).sum().item()
            np.testing.assert_allclose(found[row], [kl, k1, np.exp(-k1) - 1 + k1, reverse], rtol=1e-3, atol=1e-4)
            row += 1
    assert row == len(found) and found[:, 0].max() > 1e-3


def test_the_kl_of_a_sample_ignores_what_a_tool_wrote(fresh_mini, calculator):
    policy = moved(fresh_mini, "lora")
    whole = token_divergence(policy, SEQUENCES, 1.0)
    masked = replace(SEQUENCES[0], mask=np.array([True, False, False, True]))
    np.testing.assert_allclose(token_divergence(policy, [masked, SEQUENCES[1]], 1.0), whole[[0, 3, 4]], atol=1e-5)

    args = (policy, TransformersEngine(policy), calculator[:1], make_prompt(""))
    sampling = Sampling(max_tokens=160)
    (record,) = records(measure(*args, 1, sampling, 0, 4096), policy)
    (tokens,) = collect(policy, args[1], [Slot(calculator[0], args[3], 0)], sampling, (0, "kl"), "").tokens
    assert record.tokens == tokens.sampled.sum() < len(tokens.completion_ids)
    sequence = TokenSequence(tokens.prompt_ids, tokens.completion_ids)
    expected = token_divergence(policy, [sequence], 1.0)[tokens.sampled].mean(axis=0)
    found = [record.kl, record.k1, record.k3, record.reverse_kl]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_base_weights_have_no_divergence_and_moved_ones_do(mini, fresh_mini):
    problems = list(math.problems(math.MathOptions(difficulty=1), "test", 5, 0))
    make_trainable(fresh_mini, "lora", 4, seed=0)

    def samples():
        engine = TransformersEngine(fresh_mini)
        return measure(fresh_mini, engine, problems, make_prompt(""), 2, Sampling(max_tokens=16), 0, 4096)

    assert all(
        abs(d.kl) < 1e-9 and abs(d.k1) < 1e-6 and abs(d.reverse_kl) < 1e-9 for d in records(samples(), fresh_mini)
    )
    moved_ = moved(fresh_mini, "lora")
    found = samples()
    assert moved_ is fresh_mini and len(found) == 10
    summary = summarise(records(found, fresh_mini))
    kl, k3 = summary["kl_per_token"], summary["k3_per_token"]
    assert kl["low"] <= kl["mean"] <= kl["high"] and kl["n"] == 5 and kl["mean"] > 1e-4
    assert k3["mean"] == pytest.approx(kl["mean"], rel=1.0)
    assert summary["tokens"] == sum(len(one.ids) for one in found)
    assert summary["reverse_kl_per_token"]["mean"] == pytest.approx(kl["mean"], rel=1.0)

    tokens = list(token_records(found, fresh_mini))
    assert len(tokens) == summary["tokens"]
    for one, record in zip(found, records(found, fresh_mini), strict=True):
        mine = [t.kl for t in tokens if (t.problem_id, t.sample) == (one.rollout.problem_id, one.rollout.sample)]
        assert np.mean(mine) == pytest.approx(record.kl)
    top = top_tokens(found, fresh_mini)
    assert [t["share"] for t in top] == sorted((t["share"] for t in top), reverse=True)
    best = [t.kl for t in tokens if t.token_id == top[0]["token_id"]]
    assert top[0]["count"] == len(best) and top[0]["share"] == pytest.approx(sum(best) / sum(t.kl for t in tokens))
