import pytest
import torch

from fst_cli.policy import logprobs
from fst_cli.policy.output_layer import token_logprobs


def by_hand(hidden_ND, layer, targets_N, temperature, cap):
    """Through plain autograd."""
    logits_NV = layer(hidden_ND)
    if cap:
        logits_NV = cap * torch.tanh(logits_NV / cap)
    logp_NV = torch.log_softmax(logits_NV / temperature, dim=-1)
    return logp_NV.gather(1, targets_N[:, None])[:, 0], -(logp_NV.exp() * logp_NV).sum(-1)


@pytest.mark.parametrize("chunk", [1, 300, 1 << 24])
@pytest.mark.parametrize(("temperature", "cap", "bias"), [(1.0, None, False), (0.6, None, True), (0.7, 2.0, True)])
def test_log_probabilities_entropies_and_gradients_equal_plain_autograd(monkeypatch, chunk, temperature, cap, bias):
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", chunk)
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 100, bias=bias)
    hidden_ND = torch.randn(23, 8, requires_grad=True)
    targets_N, weights_N = torch.randint(0, 100, (23,)), torch.randn(23)
    found = []
    for compute in (
        lambda: token_logprobs(hidden_ND, layer, targets_N, temperature, cap, False),
        lambda: by_hand(hidden_ND, layer, targets_N, temperature, cap),
    ):
        logp_N, entropy_N = compute()
        gradients = torch.autograd.grad((weights_N * logp_N).sum(), [hidden_ND, *layer.parameters()])
        found.append([logp_N, entropy_N, *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_frozen_layer_gets_no_gradient_and_the_hidden_states_still_do():
    layer = torch.nn.Linear(8, 100, bias=False).requires_grad_(False)
    hidden_ND = torch.randn(5, 8, requires_grad=True)
    token_logprobs(hidden_ND, layer, torch.arange(5), 1.0, None, False)[0].sum().backward()
    assert layer.weight.grad is None and hidden_ND.grad.abs().sum() > 0


def test_float32_logits_are_nearer_to_the_truth_than_bfloat16_ones():
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 500, bias=False, dtype=torch.bfloat16)
    hidden_ND, targets_N = torch.randn(50, 64, dtype=torch.bfloat16), torch.randint(0, 500, (50,))
    true, _ = by_hand(hidden_ND.double(), layer.double(), targets_N, 1.0, None)
    layer.bfloat16()
    errors = [
        (token_logprobs(hidden_ND, layer, targets_N, 1.0, None, precise)[0] - true).abs().max().item()
        for precise in (True, False)
    ]
    assert errors[0] < 1e-5 < 1e-3 < errors[1]


def test_an_adapter_on_the_output_layer_is_not_passed_over(fresh_mini):
    from peft import LoraConfig, get_peft_model

    from fst_cli.policy.logprobs import TokenSequence, completion_logprobs

    sequence = TokenSequence([5, 6, 7], [8, 9])
    before, _ = completion_logprobs(fresh_mini.model, [sequence], 1.0)
    config = LoraConfig(target_modules=["lm_head"], init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(fresh_mini.model, config).eval()
    found, entropy_N = completion_logprobs(model, [sequence], 1.0)
    with torch.no_grad():
        logp_TV = torch.log_softmax(model(torch.tensor([[5, 6, 7, 8]])).logits[0], -1)[2:]
    torch.testing.assert_close(found, logp_TV.gather(1, torch.tensor([[8], [9]]))[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy_N, -(logp_TV.exp() * logp_TV).sum(-1), atol=1e-5, rtol=1e-5)
    assert (found - before).abs().max() > 1e-3
