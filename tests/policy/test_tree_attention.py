"""The tree's loss and gradient against the padded batch: both ways of attending, several kinds of attention."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen3Config

from fst_cli.policy import tree_attention
from fst_cli.policy.logprobs import TokenSequence, completion_logprobs
from fst_cli.policy.prefix_tree import MIN_SHARED

SMALL = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
CONFIGS = {
    "grouped heads": LlamaConfig(**SMALL),
    "one head each": LlamaConfig(**{**SMALL, "num_key_value_heads": 4}),
    "normed queries": Qwen3Config(**SMALL),
    "sliding window": MistralConfig(**SMALL, sliding_window=12),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def model(request):
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(CONFIGS[request.param], attn_implementation="sdpa").eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def loss_and_gradient(model, sequences, share, dtype=torch.float32):
    model.to(dtype).zero_grad()
    model.config._attn_implementation = "sdpa"
    if share:
        assert tree_attention.enable(model)
    logp_N, entropy_N = completion_logprobs(model, sequences, 1.0)
    weights_N = torch.linspace(-1, 1, len(logp_N), dtype=logp_N.dtype)
    loss = (weights_N * logp_N).mean()
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return loss.detach(), entropy_N, gradient


# Runs of one token make long shared prefixes of any shape out of few numbers.
runs = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 25)), min_size=1, max_size=4)
rollouts = st.lists(st.tuples(runs, st.lists(st.integers(1, 3), min_size=1, max_size=20)), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(rollouts)
def test_any_tree_of_prefixes_gives_the_padded_batchs_loss_and_gradient(model, found):
    sequences = [TokenSequence([t for token, n in prompt for t in [token] * n], rest) for prompt, rest in found]
    padded, shared = (loss_and_gradient(model, sequences, share, torch.float64) for share in (False, True))
    for one, other in zip(padded, shared, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)  # the softmax is float32, whatever the model


@pytest.fixture(scope="module")
def population():
    """2 prompts x 3 problems x 2 samples, completions of unequal length."""
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        return torch.randint(1, 50, (count,), generator=generator).tolist()

    prompts, problems = [draw(40) for _ in range(2)], [draw(20 + i) for i in range(3)]
    return [TokenSequence(p + q, draw(5 + 7 * i)) for p in prompts for q in problems for i in range(2)]


@pytest.mark.parametrize("by_family", [False, True])
def test_float32_agrees_to_1e_5_whichever_way_attention_is_computed(model, population, monkeypatch, by_family):
    padded = loss_and_gradient(model, population, share=False)
    if by_family:  # the way of GPUs, here on the CPU
        monkeypatch.setattr(tree_attention, "tree_attention", tree_attention._by_family)
    shared = loss_and_gradient(model, population, share=True)
    for one, other in zip(padded, shared, strict=True):
        scale = one.abs().max().clamp(min=1)
        torch.testing.assert_close(one / scale, other / scale, atol=1e-5, rtol=0)


def test_bfloat16_agrees_to_its_precision(model, population):
    padded = loss_and_gradient(model, population, share=False)
    shared = loss_and_gradient(model, population, share=True, dtype=torch.bfloat16)
    model.float()
    assert torch.nn.functional.cosine_similarity(padded[2], shared[2].float(), dim=0) > 0.98


def test_generation_of_an_enabled_model_is_unchanged(model):
    ids = torch.tensor([[0, 3, 4, 5], [1, 2, 3, 4]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    model.float().config._attn_implementation = "sdpa"
    before = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=20)
    tree_attention.enable(model)
    assert torch.equal(model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=20), before)


@pytest.mark.parametrize("window", [None, 1, 3, 100])
def test_the_mask_shows_each_position_its_past_within_the_window(window):
    mask_nL = tree_attention.causal_mask(4, 10, window, "cpu")
    for query in range(4):
        for key in range(10):
            behind = 6 + query - key
            assert mask_nL[query, key] == (behind >= 0 and (window is None or behind < window))


def test_a_model_that_can_not_compute_trees_is_padded():
    from transformers import Gemma2Config

    config = Gemma2Config(**SMALL, sliding_window=12, query_pre_attn_scalar=8)
    assert config.attn_logit_softcapping
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    assert not tree_attention.enable(model) and not tree_attention.enabled(model)
    prompt = list(range(1, 1 + 2 * MIN_SHARED))
    sequences = [TokenSequence(prompt, [3, 4, 5]), TokenSequence(prompt, [6])]
    logp_N, _ = completion_logprobs(model, sequences, 1.0)
    with torch.no_grad():
        logits_TV = model(torch.tensor([[*prompt, 3, 4, 5]])).logits[0].float()
    expected = torch.log_softmax(logits_TV, -1)[len(prompt) - 1 : -1].gather(1, torch.tensor([[3], [4], [5]]))[:, 0]
    torch.testing.assert_close(logp_N[:3], expected, atol=1e-5, rtol=1e-5)
