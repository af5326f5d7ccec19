"""Choose the engine. The heavy packages are imported when one is made, not before."""

from fst_cli.engines.base import Engine
from fst_cli.policy.model import Policy


def make_engine(policy: Policy, max_batch: int = 64) -> Engine:
    """The engine for a loaded policy: plain transformers."""
    from fst_cli.engines.transformers_engine import TransformersEngine

    return TransformersEngine(policy, max_batch)
