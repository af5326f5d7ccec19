"""Render a prompt φ and a problem into the model's chat template.

φ's instruction is the system message. Where the task's own messages already have one, the instruction is merged in
front of it (PAPER section 1). φ's worked examples are chat turns before the problem's first user message; an example
that comes from the very problem to be solved is left out, or its reward would be a copy.
"""

from typing import Any

from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Problem, Prompt

_PROBE = "Fst probe 7c1e."


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
    """Token ids of a chat that ends where the assistant is to speak."""
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


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
