"""Episodes: the model speaks, its task may answer, the model speaks again, within one token budget.

All episodes take their turns side by side, one engine call a round. The tokens that the model sampled stay as they
are; a reply is appended to them inside the template's own text (`policy/chat.py: continuation`), and masked. A reply
may take half of what is left of the budget, so that the model can always answer it: a longer one is cut, visibly, and
where not even the template's text fits, the episode ends, with `length` for its reason.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fst_cli.data.records import FinishReason, Message, Problem, Sampling, Score
from fst_cli.data.seeds import derive
from fst_cli.data.tensors import Tokens
from fst_cli.engines.base import Completion, Engine, Request
from fst_cli.policy.chat import continuation
from fst_cli.tasks.base import Task

A = TypeVar("A")
B = TypeVar("B")


@dataclass
class Episode:
    """One sample in the making. `request` is that of its first turn; `ids` is everything after the prompt, [T]."""

    problem: Problem
    task: Task
    request: Request
    turns: list[Message] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[np.ndarray] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    finish_reason: FinishReason = "stop"

    @property
    def said(self) -> list[str]:
        """The model's turns."""
        return [turn.content for turn in self.turns if turn.role == "assistant"]

    @property
    def transcript(self) -> str:
        """All turns, replies set apart."""
        return "\n\n".join(t.content if t.role == "assistant" else f"[tool]\n{t.content}\n[/tool]" for t in self.turns)

    @property
    def tokens(self) -> Tokens:
        """Prompt and completion, with the log-probabilities and the mask."""
        return Tokens(self.request.prompt_ids, self.ids, np.concatenate(self.logprobs), np.array(self.mask, dtype=bool))

    def score(self) -> Score:
        """The grade of what the model itself wrote."""
        return self.task.score(self.problem, "\n\n".join(self.said))

    def next_request(self, sampling: Sampling) -> Request:
        """The request of the next turn. The first one's seed is the episode's, the others' are derived from it."""
        turn = len(self.said)
        if turn == 0:
            return self.request
        seed = derive(self.request.seed, "turn", turn)
        return Request([*self.request.prompt_ids, *self.ids], seed, sampling.max_tokens - len(self.ids))

    def speak(self, completion: Completion, text: str) -> None:
        """Append a turn of the model."""
        self._append(completion.ids, completion.logprobs, True)
        self.turns.append(Message(role="assistant", content=text))
        self.finish_reason = completion.finish_reason

    def hear(self, tokenizer: Any, reply: str, sampling: Sampling) -> bool:
        """Append a reply; False, and the episode is over, where there is no room for one."""
        room = (sampling.max_tokens - len(self.ids)) // 2
        shown = continuation(tokenizer, reply, self.ids[-1] if self.ids else None, room)
        if len(shown.ids) > room:
            self.finish_reason = "length"
            return False
        self._append(shown.ids, np.zeros(len(shown.ids), dtype=np.float32), False)
        self.turns.append(Message(role="user", content=shown.reply))
        return True

    def _append(self, ids: list[int], logprobs: np.ndarray, sampled: bool) -> None:
        self.ids += ids
        self.logprobs.append(logprobs)
        self.mask += [sampled] * len(ids)


def play(
    tokenizer: Any, engine: Engine, episodes: Sequence[Episode], sampling: Sampling, advance: Callable[[int], None]
) -> None:
    """Play all episodes to their ends; `advance(n)` is told of every n that are over."""
    if not any(map(_may_go_on, episodes)):
        _speak(tokenizer, engine, episodes, sampling, advance)
        return
    playing = list(episodes)
    while playing:
        _speak(tokenizer, engine, playing, sampling, None)
        going_on = _answered(tokenizer, playing, sampling)
        advance(len(playing) - len(going_on))
        playing = going_on


def in_parallel(function: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """`function` of every item, in their order. Tasks may wait for worker processes, so threads are enough.

    The first exception, in that order, is raised, and calls that have not begun are dropped.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _speak(
    tokenizer: Any,
    engine: Engine,
    episodes: Sequence[Episode],
    sampling: Sampling,
    advance: Callable[[int], None] | None,
) -> None:
    """One turn of the model in every episode."""
    done = engine.generate([episode.next_request(sampling) for episode in episodes], sampling, advance)
    for episode, completion in zip(episodes, done, strict=True):
        episode.speak(completion, tokenizer.decode(completion.ids, skip_special_tokens=True))


def _answered(tokenizer: Any, episodes: Sequence[Episode], sampling: Sampling) -> list[Episode]:
    """The episodes that go on, their task's reply appended."""
    asking = [episode for episode in episodes if _may_go_on(episode)]
    replies = in_parallel(_reply, asking)
    return [
        episode
        for episode, reply in zip(asking, replies, strict=True)
        if reply is not None and episode.hear(tokenizer, reply, sampling)
    ]


def _may_go_on(episode: Episode) -> bool:
    task = episode.task
    return task.respond is not None and episode.finish_reason == "stop" and len(episode.said) < task.max_turns


def _reply(episode: Episode) -> str | None:
    return episode.task.respond(episode.problem, episode.said) if episode.task.respond else None
