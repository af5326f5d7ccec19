"""A policy: a base model, its tokenizer and the weights that training put on it.

Trained weights are a folder on disk, either a PEFT adapter (`adapter_model.safetensors`) over the base model, or a
whole model (`model.safetensors`). The rule is base + adapter: an adapter is never merged in place (PITFALLS 13).
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from fst_cli.data.errors import DataError, UsageError
from fst_cli.data.files import atomic_folder, sha256
from fst_cli.data.seeds import derive
from fst_cli.policy.names import resolve_model

Method = Literal["lora", "full"]
BASE = "base"


class Policy:
    """A policy. `hash` names its weights: two policies with one hash sample the same distribution.

    `weights` is the folder that holds what training changed; None for the base model. The model itself may be loaded
    when it is first asked for: an engine that samples elsewhere needs the rest only.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        tokenizer: Any,
        config: Any,
        name: str,
        hash: str,
        template: str,
        weights: Path | None = None,
    ) -> None:
        self._load, self._model = load, None
        self.tokenizer, self.config, self.name = tokenizer, config, name
        self.hash, self.template, self.weights = hash, template, weights

    @property
    def model(self) -> Any:
        """The transformers or PEFT model.

        Raises DataError where it does not load.
        """
        if self._model is None:
            self._model = self._load()
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        self._model = model

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def context(self) -> int:
        """Longest prompt plus completion, in tokens."""
        return int(self.config.get_text_config().max_position_embeddings)

    @property
    def is_adapter(self) -> bool:
        """Whether the trained weights are a PEFT adapter."""
        if self._model is None:
            return self.weights is not None and _is_adapter(self.weights)
        return hasattr(self.model, "peft_config")

    @property
    def stop_ids(self) -> set[int]:
        """Token ids that end a completion."""
        found = [self.tokenizer.eos_token_id]
        for settings in (self.config.get_text_config(), _generation_config(self.name)):
            stops = getattr(settings, "eos_token_id", None)
            found += stops if isinstance(stops, list) else [stops]
        return {stop for stop in found if stop is not None}


def load_policy(name: str, weights: Path | None = None, lazy: bool = False) -> Policy:
    """Load a model by name and, where given, trained weights over it; with `lazy`, the model itself when asked for.

    Float32 on the CPU and for a whole model that was trained (so it was saved), else bfloat16 on a GPU.

    Raises UsageError for an unknown name and DataError for a folder that holds no weights or does not load.
    """
    from transformers import AutoConfig, AutoTokenizer

    source = resolve_model(name)
    if weights is not None and not _is_adapter(weights) and not (weights / "config.json").exists():
        raise DataError(f"{weights}: holds no weights", hint="give the weights/ folder of a train-step")
    with _told_as(name, weights):
        tokenizer = AutoTokenizer.from_pretrained(source)
        config = AutoConfig.from_pretrained(source)
    template = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]
    load = functools.partial(_load_model, name, weights)
    policy = Policy(load, tokenizer, config, name, weights_hash(source, weights), template, weights)
    if not lazy:
        policy.model = load()
    return policy


def _load_model(name: str, weights: Path | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, logging

    from fst_cli.policy import tree_attention

    logging.disable_progress_bar()
    source = resolve_model(name)
    adapter = weights is not None and _is_adapter(weights)
    whole = str(weights) if weights is not None and not adapter else source
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" and whole == source else torch.float32
    with _told_as(name, weights):
        model = AutoModelForCausalLM.from_pretrained(whole, dtype=dtype, use_safetensors=True)
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(weights), is_trainable=True)
    model.to(device).eval()
    tree_attention.enable(model.get_base_model() if adapter else model)
    return model


@contextlib.contextmanager
def _told_as(name: str, weights: Path | None) -> Iterator[None]:
    """What transformers, peft and safetensors raise for a broken file, as a DataError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"the model {name}{f' with {weights}' if weights else ''} does not load: {reason}") from None


def _is_adapter(weights: Path) -> bool:
    return (weights / "adapter_config.json").exists()


@functools.cache
def _generation_config(name: str) -> Any:
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(resolve_model(name))
    except OSError:  # the model comes without one
        return None


def weights_hash(source: str, weights: Path | None) -> str:
    """Short hash of the base model's weights and of the trained ones over them."""
    parts = [_model_hash(source)]
    if weights is not None:
        parts.append(sha256(weights))
    return hashlib.sha256("+".join(parts).encode()).hexdigest()[:16]


def _model_hash(source: str) -> str:
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import scan_cache_dir

        commits = [
            revision.commit_hash
            for repo in scan_cache_dir().repos
            if repo.repo_id == source
            for revision in repo.revisions
        ]
        return f"{source}@{','.join(sorted(commits))}"
    files = sorted([*folder.glob("*.safetensors"), folder / "config.json"])
    return "+".join(sha256(file) for file in files)


def make_trainable(policy: Policy, method: Method, rank: int, seed: int) -> None:
    """Prepare a policy for training: put a fresh adapter on a base model, or open all its weights.

    LoRA starts at the base model: its B matrices are zero. Raises UsageError where the policy already has an adapter
    and full fine-tuning is asked for.
    """
    import torch

    if policy.is_adapter:
        if method == "full":
            raise UsageError("these weights are a LoRA adapter", hint="train on with --method lora")
        return
    if method == "full":
        # Trained weights are float32: in bfloat16 an update of 1e-6 would be rounded away.
        policy.model.float().requires_grad_(True)
        return
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "lora"))
        policy.model = get_peft_model(policy.model, config)
    policy.model.eval()


def save_weights(policy: Policy, target: Path, state: dict[str, Any] | None = None) -> None:
    """Write the trained weights as a folder that plain `peft` or `transformers` loads; updates the policy's hash.

    `state` is the whole state dict of a model that is sharded over processes.
    """
    with atomic_folder(target) as folder:
        policy.model.save_pretrained(folder, state_dict=state)
        if policy.is_adapter:
            (folder / "README.md").unlink(missing_ok=True)
            _in_order(folder / "adapter_config.json")
        else:
            policy.tokenizer.save_pretrained(folder)
    policy.hash, policy.weights = weights_hash(resolve_model(policy.name), target), target


def _in_order(path: Path) -> None:
    """peft writes sets in an order that changes from process to process; equal adapters must be equal files."""
    values = json.loads(path.read_text())
    in_order = {key: sorted(value) if isinstance(value, list) else value for key, value in sorted(values.items())}
    path.write_text(json.dumps(in_order, indent=2) + "\n")
