"""What a reflector is: it reads a prompt's rollouts and proposes an edited instruction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fst_cli.data.records import Problem, Prompt, Rollout


@dataclass(frozen=True)
class Trace:
    """One rollout of the parent on a minibatch problem, with its feedback."""

    problem: Problem
    rollout: Rollout


@dataclass(frozen=True)
class Usage:
    """Tokens a reflection read and wrote, and what they cost."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


NO_USAGE = Usage()


@dataclass(frozen=True)
class Edit:
    """A proposed instruction. `crossed_with` names a second parent; `transcript` is the model's input and output."""

    instruction: str
    summary: str
    crossed_with: list[str] = field(default_factory=list)
    transcript: str = ""
    usage: Usage = NO_USAGE


class ReflectionError(Exception):
    """The reflector gave no usable prompt; `transcript` holds what it said, which may have cost something."""

    def __init__(self, reason: str, transcript: str = "", usage: Usage = NO_USAGE) -> None:
        super().__init__(reason)
        self.transcript = transcript
        self.usage = usage


class Reflector(Protocol):
    """Proposes an edit; may be called from several threads. Raises ReflectionError where it has none."""

    name: str

    def reflect(self, parent: Prompt, traces: Sequence[Trace], pool: Sequence[Prompt], seed: int) -> Edit:
        """An edit of the parent's instruction; `pool` holds the other prompts known so far."""
        ...
