import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fst_cli.data.errors import DataError, UsageError
from fst_cli.policy.model import load_policy, make_trainable, save_weights
from fst_cli.policy.names import MINI
from fst_cli.policy.reference import reference_model


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 25)[None]).logits


def nudge(policy):
    """Move every trainable weight a little."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_saved_weights_load_as_they_were_and_the_base_stays(fresh_mini, mini, tmp_path, method):
    make_trainable(fresh_mini, method, 4, seed=0)
    if method == "lora":
        torch.testing.assert_close(logits(fresh_mini.model), logits(mini.model), rtol=0, atol=0)
    nudge(fresh_mini)
    save_weights(fresh_mini, tmp_path / "weights")
    back = load_policy("mini", tmp_path / "weights")
    assert torch.equal(logits(back.model), logits(fresh_mini.model))
    assert back.hash == fresh_mini.hash != mini.hash
    for policy in (back, fresh_mini):
        with reference_model(policy) as reference:
            torch.testing.assert_close(logits(reference), logits(mini.model), rtol=0, atol=0)


def test_full_weights_load_with_plain_transformers(fresh_mini, tmp_path):
    make_trainable(fresh_mini, "full", 0, seed=0)
    nudge(fresh_mini)
    save_weights(fresh_mini, tmp_path / "weights")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "weights")
    assert torch.equal(logits(plain), logits(fresh_mini.model))
    assert AutoTokenizer.from_pretrained(tmp_path / "weights").chat_template == fresh_mini.tokenizer.chat_template


def test_a_new_adapter_is_the_same_in_every_process(mini):
    names = [load_policy("mini") for _ in range(2)]
    for policy in names:
        make_trainable(policy, "lora", 4, seed=3)
    states = [{k: v for k, v in policy.model.state_dict().items() if "lora" in k} for policy in names]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_an_adapter_is_not_opened_for_full_tuning(fresh_mini):
    make_trainable(fresh_mini, "lora", 4, seed=0)
    with pytest.raises(UsageError, match="LoRA adapter"):
        make_trainable(fresh_mini, "full", 4, seed=0)


@pytest.mark.parametrize("name", ["minni", "./nowhere", "/nowhere/x", "a/b/c"])
def test_an_unknown_model_is_a_usage_error(name):
    with pytest.raises(UsageError, match="unknown model"):
        load_policy(name)


def test_a_folder_that_is_no_model_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no config.json"):
        load_policy(str(tmp_path))


def test_weights_that_are_none_are_a_data_error(tmp_path):
    with pytest.raises(DataError, match="holds no weights"):
        load_policy("mini", tmp_path)


def test_broken_weights_are_a_data_error_not_a_traceback(tmp_path):
    (tmp_path / "config.json").write_text((MINI / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="does not load"):
        load_policy("mini", tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(DataError, match="does not load"):
        load_policy("mini", tmp_path)


def test_weights_that_are_a_pickle_are_refused_unread(tmp_path):
    """A pickle runs code when it is read."""
    import torch

    from fst_cli.policy.names import resolve_model

    source, folder, ran = Path(resolve_model("mini")), tmp_path / "model", tmp_path / "ran"
    shutil.copytree(source, folder)
    (folder / "model.safetensors").unlink()

    class Hostile:
        def __reduce__(self):
            return Path.touch, (ran,)

    torch.save({"x": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"does not load: .*safetensors"):
        load_policy(str(folder))
    assert not ran.exists()
