"""Reflection by a language model: an OpenAI-compatible server, or the frozen base model itself.

The model is shown the current instruction and the whole text of the parent's rollouts with their feedback, and asked
for an edit. The reply must hold the new instruction between <instruction> tags: anything else is a failed proposal,
never a prompt (PITFALLS 18).
"""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fst_cli.data.errors import RunError
from fst_cli.data.records import Prompt, Sampling
from fst_cli.engines.base import Request
from fst_cli.fast.reflectors.base import Edit, ReflectionError, Trace, Usage
from fst_cli.fast.settings import Recipe, ReflectorSettings
from fst_cli.policy.chat import encode_chat
from fst_cli.policy.model import Policy

# The tags of the reply stand nowhere else as a block: a small model would copy it.
REQUEST = """\
You improve the instruction that a language model is given before each problem of one kind. Below are the current \
instruction, and what the model did under it on {count} problems, each with the feedback it got.

## Current instruction
{instruction}

{rollouts}

## Your task
{task} Do not mention these particular problems, their numbers or their answers. Write in the language of the \
current instruction.

Write the whole new instruction now, between the tags <instruction> and </instruction>. You may think before it; \
nothing may follow it."""

# PAPER section 3: "light" edits the prompt step by step, "full" writes it anew.
TASKS: dict[Recipe, str] = {
    "light": "Look for the mistake that costs the most, and for what the good replies do differently. Then edit the "
    "instruction so that the mistake becomes less likely on new problems of this kind: keep its role and format, keep "
    "what works, and add, sharpen or remove a sentence or two.",
    "full": "Work out what this kind of problem needs: what the input looks like, which steps lead to a right answer, "
    "which mistakes were made and how each is avoided, in what form the answer must be given. Then write the "
    "instruction anew, as long and as detailed as a newcomer would need it.",
}

ROLLOUT = """\
## Problem {number}
{problem}
## Reply {number}
{reply}
## Feedback {number} (reward {reward})
{feedback}"""

_TAGS = re.compile(r"<instruction>(.*?)</instruction>", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """What a model answered, and what that took."""

    text: str
    usage: Usage


class LanguageModelReflector:
    """Asks `complete(text, seed)` for an edit."""

    def __init__(self, name: str, recipe: Recipe, complete: Callable[[str, int], Reply]) -> None:
        self.name = name
        self._recipe = recipe
        self._complete = complete

    def reflect(self, parent: Prompt, traces: Sequence[Trace], pool: Sequence[Prompt], seed: int) -> Edit:
        """The edit that the model proposes."""
        request = reflection_request(parent, traces, self._recipe)
        reply = self._complete(request, seed)
        transcript = f"{request}\n\n=== reply ===\n{reply.text}"
        try:
            instruction = parse_reply(reply.text)
        except ReflectionError as error:
            raise ReflectionError(str(error), transcript, reply.usage) from None
        return Edit(instruction, f"{self._recipe} reflection", transcript=transcript, usage=reply.usage)


def reflection_request(parent: Prompt, traces: Sequence[Trace], recipe: Recipe = "light") -> str:
    """What the reflection model reads."""
    rollouts = "\n\n".join(
        ROLLOUT.format(
            number=number,
            problem=trace.problem.messages[-1].content,
            reply=trace.rollout.text,
            reward=trace.rollout.score.reward,
            feedback=trace.rollout.score.feedback,
        )
        for number, trace in enumerate(traces, start=1)
    )
    return REQUEST.format(instruction=parent.instruction, count=len(traces), rollouts=rollouts, task=TASKS[recipe])


def parse_reply(reply: str) -> str:
    """The new instruction in a reply.

    Raises ReflectionError where there is none, more than one after the thinking, or an empty one.
    """
    found = _TAGS.findall(reply.rpartition("</think>")[2])
    if len(found) != 1 or found[0].strip() in ("", "..."):
        raise ReflectionError(f"the reply holds {len(found)} instructions between tags, not one")
    return found[0].strip()


def openai_reflector(model: str, settings: ReflectorSettings, recipe: Recipe) -> LanguageModelReflector:
    """A reflector on an OpenAI-compatible server; the key is read from OPENAI_API_KEY.

    The client tries again with growing pauses. Then the call raises RunError: a run without its reflector is no run.
    """
    import openai

    try:
        client = openai.OpenAI(
            base_url=settings.reflector_base_url,
            max_retries=settings.reflector_retries,
            timeout=settings.reflector_timeout,
        )
    except openai.OpenAIError as error:
        raise RunError(
            str(error).splitlines()[0], hint="export OPENAI_API_KEY=... (any word for a local server)"
        ) from None

    # OpenAI's own name for the limit is new; compatible servers all know the old one, and some only that.
    limit = "max_tokens" if settings.reflector_base_url else "max_completion_tokens"

    def complete(text: str, seed: int) -> Reply:
        try:
            reply = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": text}],
                seed=seed % 2**31,
                extra_body={limit: settings.reflector_tokens},
            )
        except openai.OpenAIError as error:
            raise RunError(
                f"the reflection model {model} failed {settings.reflector_retries + 1} times: {error}",
                hint="see --reflector-base-url; the same command goes on where this one stopped",
            ) from None
        found = (reply.choices[0].message.content if reply.choices else None) or ""
        read, written = (reply.usage.prompt_tokens, reply.usage.completion_tokens) if reply.usage else (0, 0)
        cost = (read * settings.price_input + written * settings.price_output) / 1e6
        return Reply(found, Usage(read, written, cost))

    return LanguageModelReflector(f"openai:{model}", recipe, complete)


def local_reflector(base: Policy, max_tokens: int, recipe: Recipe) -> LanguageModelReflector:
    """A reflector that is the frozen base model itself."""
    from fst_cli.engines.transformers_engine import TransformersEngine

    engine = TransformersEngine(base)
    one_at_a_time = threading.Lock()

    def complete(text: str, seed: int) -> Reply:
        ids = encode_chat(base.tokenizer, [{"role": "user", "content": text}])
        if len(ids) + max_tokens > base.context:
            raise ReflectionError(f"the reflection request has {len(ids)} tokens, too many for {base.name}", text)
        with one_at_a_time:
            reply = engine.generate([Request(ids, seed)], Sampling(temperature=1.0, max_tokens=max_tokens))[0]
        text = base.tokenizer.decode(reply.ids, skip_special_tokens=True)
        return Reply(text, Usage(len(ids), len(reply.ids)))

    return LanguageModelReflector("local", recipe, complete)
