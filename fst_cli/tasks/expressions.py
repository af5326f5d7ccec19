"""The procedural problems of the `codeio` task: the value of a small Python expression of one or two operations."""

import random
from typing import Any, NamedTuple

QUESTION = "What is the value of this Python expression?\n{expression}"


class Expression(NamedTuple):
    """An inner expression, and the outer one in which `{}` stands for it."""

    inner: str
    outer: str

    @property
    def text(self) -> str:
        """The whole expression."""
        return self.outer.format(self.inner)

    @property
    def value(self) -> Any:
        """Its value: an int, bool, str or list of ints. It is our own text that is evaluated."""
        return eval(self.text)

    @property
    def worked(self) -> str:
        """One operation after the other."""
        first = eval(self.inner)
        then = "" if self.outer == "{}" else f" {self.outer.format(repr(first))} is {self.value!r}."
        return f"{self.inner} is {first!r}.{then}"


def draw(rng: random.Random, small: bool = False) -> Expression:
    """An expression; a small one has one operation."""
    numbers = [rng.randint(0, 9) for _ in range(rng.randint(2, 4))]
    word = "".join(rng.choice("abcdehknoprstu") for _ in range(rng.randint(2, 4)))
    kind = rng.choice(["list", "str", "int"])
    if kind == "list":
        more = rng.randint(0, 9)
        inner = rng.choice([f"sorted({numbers})", f"{numbers}[::-1]", f"{numbers} + [{more}]", f"{numbers}[1:]"])
        outers = ["{}[0]", "{}[-1]", "len({})", "max({})", "min({})", "{}[::-1]"]
    elif kind == "str":
        inner = rng.choice([f"'{word}'[::-1]", f"'{word}'.upper()", f"'{word}' + 's'", f"'{word}' * 2"])
        outers = ["{}[0]", "{}[-1]", "len({})", "{}[::-1]", "{}.upper()"]
    else:
        a, b = rng.randint(2, 9), rng.randint(2, 9)
        inner = rng.choice([f"{a} + {b}", f"{a} * {b}", f"{a + b} - {b}", f"{a * 3} % {b}", f"{a * b} // {b}"])
        outers = ["{} + 1", "{} * 2", "{} > 5", "str({})"]
        outers = [outer.replace("{}", "({})") if outer[0] == "{" else outer for outer in outers]
    outer = "{}" if small or rng.random() < 0.4 else rng.choice(outers)
    binds_less = kind != "int" and outer != "{}" and (" + " in inner or " * " in inner)
    return Expression(f"({inner})" if binds_less else inner, outer)
