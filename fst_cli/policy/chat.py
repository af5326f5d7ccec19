"""Render a prompt φ and a problem, and a tool's reply, into the model's chat template.

φ's instruction is the system message. Where the task's own messages already have one, the instruction is merged in
front of it (PAPER section 1). φ's worked examples are chat turns before the problem's first user message; an example
that comes from the very problem to be solved is left out, or its reward would be a copy.
"""

import re
from dataclasses import dataclass
from typing import Any

from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Problem, Prompt

_PROBE = "Fst probe 7c1e."
_ANSWER, _REPLY = "Fst answer 7c1e.", "Fst reply 7c1e."
CUT = " [... cut]"


class PromptTooLongError(RunError):
    """Prompt, problem and completion do not fit into the model's context."""


def chat_messages(prompt: Prompt, problem: Problem) -> list[dict[str, str]]:
    """The chat as the template takes it."""
    task_system = [message.content for message in problem.messages if message.role == "system"]
    system = "\n\n".join(part for part in [prompt.instruction, *task_system] if part)
    messages = [{"role": "system", "content": system}] if system else []
    for example in prompt.examples:
        if example.problem_id == problem.id:
            continue
        messages.append({"role": "user", "content": example.question})
        messages.append({"role": "assistant", "content": example.reply})
    messages += [{"role": m.role, "content": m.content} for m in problem.messages if m.role != "system"]
    return messages


def render(tokenizer: Any, prompt: Prompt, problem: Problem, room: int) -> list[int]:
    """Token ids of the whole prompt, ready for the completion.

    Raises PromptTooLongError where more than `room` tokens result: a prompt is never cut.
    """
    ids = encode_chat(tokenizer, chat_messages(prompt, problem))
    if len(ids) > room:
        raise PromptTooLongError(
            f"problem {problem.id} under prompt {prompt.id} has {len(ids)} tokens, the context leaves {room}",
            hint="lower --max-tokens, shorten the prompt or its examples, or use a model with a longer context",
        )
    return ids


def encode_chat(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Token ids of a chat that ends where the assistant is to speak.

    What looks like a control token in a message (`<|im_end|>` in a problem's text) stays text: it can't end the turn.
    """
    marks = _marks(tokenizer, messages)
    if not marks:
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    marked = [message | {"content": _replaced(message["content"], marks)} for message in messages]
    text = tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    controls = {mark: control for control, mark in marks.items()}
    ids: list[int] = []
    for part in re.split(f"([{''.join(controls)}])", text):
        if part in controls:
            ids += _as_text(tokenizer, controls[part])
        elif part:
            ids += tokenizer.encode(part, add_special_tokens=False)
    return ids


def _marks(tokenizer: Any, messages: list[dict[str, str]]) -> dict[str, str]:
    """A private character, in none of the messages, for each control token that is spelled out in them."""
    whole = "\n".join(message["content"] for message in messages)
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    spelled = sorted((control for control in special if control in whole), key=len, reverse=True)
    free = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in whole)
    return dict(zip(spelled, free, strict=False))


def _replaced(text: str, marks: dict[str, str]) -> str:
    for control, mark in marks.items():
        text = text.replace(control, mark)
    return text


@dataclass(frozen=True)
class Continuation:
    """The tokens between two turns of the model, and the reply in them as it is shown."""

    ids: list[int]
    reply: str


def continuation(tokenizer: Any, reply: str, last_id: int | None = None, room: int | None = None) -> Continuation:
    """What follows a turn that ended with token `last_id`, up to where the model speaks again: `reply` as a user's.

    The model's own tokens are not rendered again, as text round trips change tokens (PITFALLS 3): this is the
    template's text between two assistant turns alone, without the end token where the model has sampled it. In the
    reply's text, what looks like a control token stays text. A reply for which there is not `room`, in tokens, is cut
    and marked; with room for no token of it, `ids` exceeds the room.

    Raises UsageError where the template renders no reply after an assistant's turn.
    """
    before, after = (tokenizer.encode(part, add_special_tokens=False) for part in _between_turns(tokenizer))
    if last_id in before and not tokenizer.decode(before[: before.index(last_id)]).strip():
        before = before[before.index(last_id) + 1 :]
    ids = _as_text(tokenizer, reply)
    if room is not None and len(before) + len(ids) + len(after) > room:
        mark = _as_text(tokenizer, CUT)
        kept = ids[: max(1, room - len(before) - len(mark) - len(after))]
        ids, reply = kept + mark, tokenizer.decode(kept) + CUT
    return Continuation([*before, *ids, *after], reply)


def _between_turns(tokenizer: Any) -> tuple[str, str]:
    """The template's text from an assistant's answer to the user's reply, and from there to the next answer."""
    chat = [("user", "Hello."), ("assistant", _ANSWER), ("user", _REPLY)]
    messages = [{"role": role, "content": content} for role, content in chat]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before, found, after = text.rpartition(_ANSWER)[2].partition(_REPLY)
    if not found:
        raise UsageError("the model's chat template renders no reply after an assistant's turn")
    return before, after


def _as_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text in which nothing is a control token, whatever it looks like."""
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


def require_system_role(tokenizer: Any) -> None:
    """Check that the template renders a system message (PITFALLS 12).

    Raises UsageError where there is no template, or one that refuses or drops a system message.
    """
    if not tokenizer.chat_template:
        raise UsageError("the model has no chat template", hint="use an instruction-tuned model")
    messages = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "Hello."}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception as error:
        raise UsageError(f"the model's chat template refuses a system message: {error}") from None
    if _PROBE not in text:
        raise UsageError(
            "the model's chat template drops the system message, so a prompt's instruction would have no effect",
            hint="use prompts with worked examples only, or another model",
        )
