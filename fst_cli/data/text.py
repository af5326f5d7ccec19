"""Text that others wrote, made fit for a terminal or a page: what cannot be seen is shown, what is too long is cut.

Escaping is not done here: the report's template escapes everything, and rich is told that nothing is markup.
"""

import os
import re

LONGEST = 20_000  # characters of one text
SHORTEST_SECRET = 6  # "none" and the like are no secrets
# Marks that turn the direction of what follows, and characters without width: they make text look like what it is not.
_HIDDEN = re.compile(
    "[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\x80-\x9f]"
)
_CONTROL = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_CREDENTIALS = re.compile(r"(?<=://)[^\s/\"'?#]*@")


def visible(text: str) -> str:
    """Control characters as their symbols (ESC is ␛), hidden ones by their number."""
    return _HIDDEN.sub(lambda found: f"‹U+{ord(found.group()):04X}›", text.translate(_CONTROL))


def cut(text: str, longest: int = LONGEST) -> str:
    """The beginning of a long text, with a note of what is missing."""
    return text if len(text) <= longest else f"{text[:longest]}\n… ({len(text) - longest:,} more characters)"


def without_secrets(text: str) -> str:
    """A text in which the keys of this process's environment are dots: a server may repeat what it was sent."""
    for name, value in os.environ.items():
        if name.endswith(("_API_KEY", "_TOKEN", "_SECRET")) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "…")
    return text


def without_credentials(text: str) -> str:
    """URLs without the user and password before the host."""
    return _CREDENTIALS.sub("…@", text)
