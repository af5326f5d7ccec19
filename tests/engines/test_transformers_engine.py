import numpy as np
import pytest
import torch
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from fst_cli.data.records import Sampling
from fst_cli.engines.base import Request
from fst_cli.engines.draw import draw
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.policy.chat import encode_chat


@pytest.fixture(scope="module")
def prompts(mini):
    texts = ["What is 4 + 5?", "Compute 17 - 8.", "Hello.", "A much longer question, with many more words: 12 * 3?"]
    return [encode_chat(mini.tokenizer, [{"role": "user", "content": text}]) for text in texts]


def generate(mini, requests, max_batch=64, **sampling):
    return TransformersEngine(mini, max_batch).generate(requests, Sampling(**{"max_tokens": 24, **sampling}))


def test_greedy_equals_transformers_generate(mini, prompts):
    for prompt, done in zip(prompts, generate(mini, [Request(p, 0) for p in prompts], temperature=0.0), strict=True):
        with torch.no_grad():
            expected = mini.model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_new_tokens=24
            )[0, len(prompt) :].tolist()
        assert done.ids == expected


def test_a_sample_depends_on_its_seed_and_not_on_the_batch_around_it(mini, prompts):
    requests = [Request(prompt, seed) for seed in range(6) for prompt in prompts]
    whole = generate(mini, requests)
    alone = [generate(mini, [request])[0] for request in requests[:8]]
    backwards = generate(mini, requests[::-1], max_batch=5)[::-1]
    assert [c.ids for c in whole[:8]] == [c.ids for c in alone]
    assert [c.ids for c in whole] == [c.ids for c in backwards]
    assert len({tuple(c.ids) for c in whole}) > len(prompts)


def test_a_completion_ends_with_the_stop_token_or_at_the_limit(mini, prompts):
    done = generate(mini, [Request(p, s) for s in range(8) for p in prompts], max_tokens=12)
    for completion in done:
        stops = [id_ in mini.stop_ids for id_ in completion.ids]
        assert not any(stops[:-1]) and len(completion.ids) == len(completion.logprobs) <= 12
        assert (completion.finish_reason == "stop") == stops[-1]
        assert stops[-1] or len(completion.ids) == 12
    assert {completion.finish_reason for completion in done} == {"stop", "length"}


def test_every_finished_sequence_is_told(mini, prompts):
    told = []
    requests = [Request(prompts[0], seed) for seed in range(7)]
    TransformersEngine(mini, 3).generate(requests, Sampling(max_tokens=4), told.append)
    assert sum(told) == 7


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 0.0, -1.0, 1.0]])
    probs = torch.softmax(logits / 0.7, -1)[0].double().numpy()
    uniform = torch.arange(4000, dtype=torch.float64) / 4000
    ids, logprobs = draw(logits.expand(4000, -1), uniform, Sampling(temperature=0.7))
    assert np.abs(np.bincount(ids, minlength=4) / 4000 - probs).max() < 1e-3
    np.testing.assert_allclose(logprobs.numpy(), np.log(probs)[ids], atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "warper"),
    [
        ({"top_k": 7}, TopKLogitsWarper(7)),
        ({"top_p": 0.8}, TopPLogitsWarper(0.8)),
        ({"min_p": 0.1}, MinPLogitsWarper(0.1)),
    ],
)
def test_cuts_keep_the_tokens_that_transformers_keeps(fields, warper):
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(1)) * 2
    expected = torch.softmax(warper(None, logits.clone()), -1)
    uniform = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    for row in range(20):
        ids, _ = draw(logits[row].expand(400, -1), uniform, Sampling(**fields))
        share = np.bincount(ids, minlength=50) / 400
        assert np.abs(share - expected[row].numpy()).max() < 5e-3


def test_the_extreme_draws_are_tokens_of_the_vocabulary_with_some_probability():
    logits = torch.tensor([[0.0, -1000.0, 1.0, -1000.0]])
    for uniform in (0.0, np.nextafter(1.0, 0.0)):
        ids, _ = draw(logits, torch.tensor([uniform], dtype=torch.float64), Sampling())
        assert int(ids) in (0, 2)
