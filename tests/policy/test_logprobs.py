from dataclasses import replace

import numpy as np
import pytest
import torch

from fst_cli.data.records import Sampling
from fst_cli.engines.base import Request
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.policy import logprobs
from fst_cli.policy.logprobs import TokenSequence, completion_logprobs, micro_batches


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(0)
    return [TokenSequence(rng.integers(5, 900, 3 + i).tolist(), rng.integers(5, 900, 9 - i).tolist()) for i in range(6)]


def independent(model, sequence, temperature):
    """One sequence, no padding, all logits, float64."""
    ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double() / temperature
    logp = torch.log_softmax(logits, -1)[len(sequence.prompt_ids) - 1 : -1]
    chosen = logp.gather(1, torch.tensor(sequence.completion_ids)[:, None])[:, 0]
    return chosen, -(logp.exp() * logp).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 5000, 1 << 24])
def test_padded_and_chunked_equal_one_sequence_at_a_time(mini, sequences, monkeypatch, temperature, chunk):
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", chunk)
    logp_N, entropy_N = completion_logprobs(mini.model, sequences, temperature)
    expected = [independent(mini.model, sequence, temperature) for sequence in sequences]
    torch.testing.assert_close(logp_N.detach().double(), torch.cat([e[0] for e in expected]), atol=1e-4, rtol=0)
    torch.testing.assert_close(entropy_N.double(), torch.cat([e[1] for e in expected]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["tree", "padded"])
def test_what_a_tool_wrote_is_read_and_not_predicted(mini, sequences, monkeypatch, attention):
    if attention == "padded":
        monkeypatch.setattr(mini.model.config, "_attn_implementation", "sdpa")
    rng = np.random.default_rng(1)
    masks = [rng.random(len(sequence.completion_ids)) < 0.5 for sequence in sequences]
    masks[2][-1] = False  # a tool may have the last word
    masked = [replace(sequence, mask=mask) for sequence, mask in zip(sequences, masks, strict=True)]
    whole, found = (completion_logprobs(mini.model, some, 1.0) for some in (sequences, masked))
    kept_N = torch.from_numpy(np.concatenate(masks))
    for all_N, some_n in zip(whole, found, strict=True):
        torch.testing.assert_close(some_n, all_N[kept_N], atol=1e-5, rtol=0)
    with pytest.raises(ValueError):
        completion_logprobs(mini.model, [replace(sequences[0], mask=masks[1])], 1.0)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_trainer_and_sampler_agree(mini, sequences, temperature):
    requests = [Request(sequence.prompt_ids, seed) for seed, sequence in enumerate(sequences * 3)]
    done = TransformersEngine(mini).generate(requests, Sampling(temperature=temperature, max_tokens=20))
    pairs = [TokenSequence(r.prompt_ids, c.ids) for r, c in zip(requests, done, strict=True)]
    with torch.no_grad():
        logp_N, _ = completion_logprobs(mini.model, pairs, temperature)
    sampled_N = np.concatenate([completion.logprobs for completion in done])
    assert np.abs(logp_N.numpy() - sampled_N).max() < 1e-4


def test_micro_batches_hold_every_row_once_and_stay_within_the_limit(mini):
    rows = [TokenSequence([1 + i] * length, [2]) for i, length in enumerate([5, 100, 7, 7, 50, 3, 260])]
    lengths = [len(row.inputs) for row in rows]
    groups = micro_batches(mini.model, rows, 200)
    assert sorted(row for group in groups for row in group) == list(range(7))
    assert all(sum(lengths[row] for row in group) <= 200 or len(group) == 1 for group in groups)


def test_padded_micro_batches_count_the_padding(mini, monkeypatch):
    monkeypatch.setattr(mini.model.config, "_attn_implementation", "sdpa")
    rows = [TokenSequence([1 + i] * length, [2]) for i, length in enumerate([5, 100, 7, 7, 50, 3, 260])]
    lengths = [len(row.inputs) for row in rows]
    groups = micro_batches(mini.model, rows, 200)
    assert sorted(row for group in groups for row in group) == list(range(7))
    assert all(max(lengths[row] for row in group) * len(group) <= 200 or len(group) == 1 for group in groups)
    assert len(micro_batches(mini.model, rows[:4], 10_000, at_least=2)) >= 2
