"""Reflection by a language model: an OpenAI-compatible server, or the frozen base model itself.

The model is shown the current instruction and the whole text of the parent's rollouts with their feedback, and asked
for an incremental edit. The reply must hold the new instruction between <instruction> tags: anything else is a
failed proposal, never a prompt (PITFALLS 18).
"""

import re
from collections.abc import Callable, Sequence

from fst_cli.data.errors import RunError
from fst_cli.data.records import Prompt, Sampling
from fst_cli.engines.base import Request
from fst_cli.engines.registry import make_engine
from fst_cli.fast.reflectors.base import Edit, ReflectionError, Trace
from fst_cli.policy.chat import encode_chat
from fst_cli.policy.model import Policy

REQUEST = """\
You improve the instruction that a language model is given before each problem of one kind.

The current instruction:
<instruction>
{instruction}
</instruction>

What the model did under it on {count} problems:

{rollouts}

Look for the mistake that costs the most, and for what the good replies do differently. Then edit the instruction so \
that the mistake becomes less likely on new problems of this kind: keep its role and format, keep what works, and add, \
sharpen or remove a sentence or two. Do not mention these particular problems, their numbers or their answers.

Think first if you like. Then write the whole new instruction, and nothing after it:
<instruction>
...
</instruction>"""

ROLLOUT = """\
### Problem {number}
{problem}
### Reply {number}
{reply}
### Feedback {number} (reward {reward})
{feedback}"""

_TAGS = re.compile(r"<instruction>(.*?)</instruction>", re.DOTALL)


class LanguageModelReflector:
    """Asks `complete(text, seed) -> reply` for an edit."""

    def __init__(self, name: str, complete: Callable[[str, int], str]) -> None:
        self.name = name
        self._complete = complete

    def reflect(self, parent: Prompt, traces: Sequence[Trace], pool: Sequence[Prompt], seed: int) -> Edit:
        """The edit that the model proposes."""
        request = reflection_request(parent, traces)
        reply = self._complete(request, seed)
        transcript = f"{request}\n\n=== reply ===\n{reply}"
        return Edit(parse_reply(reply, transcript), "rewritten by reflection", transcript=transcript)


def reflection_request(parent: Prompt, traces: Sequence[Trace]) -> str:
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
    return REQUEST.format(instruction=parent.instruction, count=len(traces), rollouts=rollouts)


def parse_reply(reply: str, transcript: str = "") -> str:
    """The new instruction in a reply.

    Raises ReflectionError where there is none, more than one after the thinking, or an empty one.
    """
    found = _TAGS.findall(reply.rpartition("</think>")[2])
    if len(found) != 1 or found[0].strip() in ("", "..."):
        raise ReflectionError(f"the reply holds {len(found)} instructions between tags, not one", transcript)
    return found[0].strip()


def openai_reflector(model: str, base_url: str | None, max_tokens: int) -> LanguageModelReflector:
    """A reflector on an OpenAI-compatible server; the key is read from OPENAI_API_KEY.

    Its call raises RunError where the server can't be reached or refuses: a run without its reflector is no run.
    """
    import openai

    try:
        client = openai.OpenAI(base_url=base_url, max_retries=4, timeout=300)
    except openai.OpenAIError as error:
        raise RunError(
            str(error).splitlines()[0], hint="export OPENAI_API_KEY=... (any word for a local server)"
        ) from None

    def complete(text: str, seed: int) -> str:
        try:
            reply = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": text}],
                max_completion_tokens=max_tokens,
                seed=seed % 2**31,
            )
        except openai.OpenAIError as error:
            raise RunError(f"the reflection model {model} failed: {error}", hint="see --reflector-base-url") from None
        return (reply.choices[0].message.content if reply.choices else None) or ""

    return LanguageModelReflector(f"openai:{model}", complete)


def local_reflector(base: Policy, max_tokens: int) -> LanguageModelReflector:
    """A reflector that is the frozen base model itself."""
    engine = make_engine(base)

    def complete(text: str, seed: int) -> str:
        ids = encode_chat(base.tokenizer, [{"role": "user", "content": text}])
        if len(ids) + max_tokens > base.context:
            raise ReflectionError(f"the reflection request has {len(ids)} tokens, too many for {base.name}", text)
        reply = engine.generate([Request(ids, seed)], Sampling(temperature=1.0, max_tokens=max_tokens))[0]
        return base.tokenizer.decode(reply.ids, skip_special_tokens=True)

    return LanguageModelReflector("local", complete)
