"""Find the final answer in a completion."""

import re

_BLOCK = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)


def after_thinking(text: str) -> str:
    """The part of a completion outside its thoughts: after the last `</think>`, before a `<think>` left open."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


def last_boxed(text: str) -> str | None:
    """Contents of the last closed `\\boxed{...}`, nested braces respected; None where there is none."""
    text = after_thinking(text)
    start = text.rfind("\\boxed{")
    while start >= 0:
        content = _balanced(text, start + len("\\boxed{"))
        if content is not None:
            return content.strip()
        start = text.rfind("\\boxed{", 0, start)
    return None


def fenced(text: str) -> list[str]:
    """Contents of the closed fenced blocks outside the thoughts, in order."""
    return [found.strip() for found in _BLOCK.findall(after_thinking(text))]


def tagged(text: str) -> list[str]:
    """Contents of the closed `<answer>` tags outside the thoughts, in order."""
    return [found.strip() for found in _TAGS.findall(after_thinking(text))]


def _balanced(text: str, start: int) -> str | None:
    depth = 1
    for index in range(start, len(text)):
        char = text[index]
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return text[start:index]
    return None
