"""The initial model, to measure how far a policy has moved from it."""

import contextlib
from collections.abc import Iterator
from typing import Any

from fst_cli.policy.model import Policy, load_policy

_loaded: dict[str, Any] = {}


@contextlib.contextmanager
def reference_model(policy: Policy) -> Iterator[Any]:
    """The frozen base model of a policy: its own with the adapter switched off, or a second copy after full tuning."""
    if policy.is_adapter:
        with policy.model.disable_adapter():
            yield policy.model
        return
    if policy.name not in _loaded:
        _loaded.clear()
        _loaded[policy.name] = load_policy(policy.name).model.requires_grad_(False)
    yield _loaded[policy.name]
