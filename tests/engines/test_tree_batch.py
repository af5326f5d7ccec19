"""Decoding over the prefix tree against the plain model on each whole sequence, sequences joining and leaving."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, Qwen3Config

from fst_cli.data.records import Sampling
from fst_cli.engines import transformers_engine
from fst_cli.engines.base import Request
from fst_cli.engines.padded_batch import PaddedBatch
from fst_cli.engines.small_products import ROWS, small_products
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.engines.tree_batch import TreeBatch
from fst_cli.policy import tree_attention
from fst_cli.policy.model import Policy, load_policy

SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
CONFIGS = {
    "grouped heads": LlamaConfig(**SMALL),
    "one head each": LlamaConfig(**{**SMALL, "num_key_value_heads": 4}),
    "normed queries": Qwen3Config(**SMALL),
    "one head for all": GemmaConfig(**{**SMALL, "num_key_value_heads": 1}),
}


def wrapped(mini, model):
    tree_attention.enable(model)
    return Policy(lambda: model, mini.tokenizer, model.config, "mini", "hash", mini.template)


@pytest.fixture(scope="module", params=list(CONFIGS))
def policy(request, mini):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return wrapped(mini, model)


def whole(policy, ids):
    """Logits after a whole sequence, by the model alone."""
    return policy.model(input_ids=torch.tensor([ids])).logits[0, -1].float()


runs = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 25)), min_size=1, max_size=4)
prompts = st.lists(runs.map(lambda run: [t for token, n in run for t in [token] * n]), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None)
@given(prompts, st.data())
@torch.inference_mode()
def test_every_sequence_gets_the_logits_that_it_gets_alone(policy, prompts, data):
    batch, waiting, running = TreeBatch(policy, prompts), list(range(len(prompts))), []
    for _ in range(6):
        if waiting and (not running or data.draw(st.booleans())):
            joining = waiting[: data.draw(st.integers(1, len(waiting)))]
            waiting = waiting[len(joining) :]
            logits_BV = batch.admit(joining)
            for row, logits_V in zip(joining, logits_BV, strict=True):
                running.append(list(prompts[row]))
                torch.testing.assert_close(logits_V, whole(policy, running[-1]), atol=1e-4, rtol=1e-4)
        new = [data.draw(st.integers(1, 299)) for _ in running]
        for ids, token in zip(running, new, strict=True):
            ids.append(token)
        for ids, logits_V in zip(running, batch.step(torch.tensor(new)), strict=True):
            torch.testing.assert_close(logits_V, whole(policy, ids), atol=1e-4, rtol=1e-4)
        if len(running) > 1 and data.draw(st.booleans()):
            kept = sorted(data.draw(st.sets(st.integers(0, len(running) - 1), min_size=1)))
            batch.keep(kept)
            running = [running[place] for place in kept]


def texts(policy, requests, max_batch=64, **sampling):
    done = TransformersEngine(policy, max_batch).generate(requests, Sampling(max_tokens=30, **sampling))
    return [one.ids for one in done], np.concatenate([one.logprobs for one in done])


@pytest.fixture(scope="module")
def requests():
    rng = np.random.default_rng(0)
    shared = rng.integers(1, 300, 60).tolist()
    tails = [rng.integers(1, 300, n).tolist() for n in (5, 30, 31, 40)]
    return [Request(shared + tail, seed) for seed in range(12) for tail in tails]


def test_same_seed_same_text_whatever_batch_size_and_order(policy, requests):
    expected, _ = texts(policy, requests)
    for order, max_batch in ((range(48), 5), (range(47, -1, -1), 64), (np.random.default_rng(1).permutation(48), 17)):
        found, _ = texts(policy, [requests[i] for i in order], max_batch)
        assert found == [expected[i] for i in order]
    alone = [texts(policy, [request])[0][0] for request in requests[:6]]
    assert alone == expected[:6]


def test_rounds_of_few_prompts_change_nothing(policy, requests, monkeypatch):
    expected, _ = texts(policy, requests)
    monkeypatch.setattr(transformers_engine, "ROUND_TOKENS", 110)
    assert len(TransformersEngine(policy)._rounds(requests, Sampling(max_tokens=30))) > 1
    assert texts(policy, requests, 7)[0] == expected


def test_the_padded_batch_samples_the_same(policy, requests, monkeypatch):
    expected, logprobs = texts(policy, requests)
    monkeypatch.setattr(tree_attention, "enabled", lambda model: False)
    found, other = texts(policy, requests, 20)
    assert found == expected
    np.testing.assert_allclose(other, logprobs, atol=1e-4)


def test_a_sliding_window_that_is_too_short_is_sampled_in_the_padded_batch(mini, requests):
    from transformers import MistralConfig

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MistralConfig(**SMALL, sliding_window=24)).eval()
    policy = wrapped(mini, model)
    found, _ = texts(policy, requests[:4], temperature=0.0)
    for request, ids in zip(requests, found, strict=False):
        with torch.inference_mode():
            for place, token in enumerate(ids[:5]):
                assert int(whole(policy, request.prompt_ids + ids[:place]).argmax()) == token


def test_an_adapter_samples_as_itself(mini, adapter, requests):
    policy = load_policy("mini", adapter)
    _, logprobs = texts(policy, requests[:8])
    base, _ = texts(mini, requests[:8])
    assert texts(policy, requests[:8])[0] != base
    with torch.inference_mode():
        ids = texts(policy, requests[:1])[0][0]
        expected = torch.log_softmax(whole(policy, requests[0].prompt_ids), -1)[ids[0]]
    assert logprobs[0] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 7, ROWS, ROWS + 1])
@pytest.mark.parametrize("bias", [False, True])
def test_small_products_change_nothing_but_the_speed(rows, bias):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(40, 70, bias=bias))
    input = torch.randn(rows, 1, 40)
    expected = model(input)
    with small_products(model):
        found = model(input)
        assert "forward" in vars(model[0])
    assert "forward" not in vars(model[0])
    assert found.is_contiguous() and found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_prompt_asked_for_often_is_prefilled_once(mini, requests):
    many = [requests[0].prompt_ids] * 7 + [requests[1].prompt_ids]
    assert len(TreeBatch(mini, many).tree) < 2 * len(requests[1].prompt_ids)
    assert PaddedBatch(mini, many).admit(range(8)).shape[0] == 8
