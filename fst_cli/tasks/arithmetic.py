"""The procedural problems of the `math` task: sums, differences, products and two-step word problems.

A problem is a chain of one or two operations (op, a, b) whose text is an expression or a short story. Difficulty is
the number of digits of the operands. The worked solution works digit by digit and writes every carry.
"""

import random
from typing import NamedTuple


class Step(NamedTuple):
    """One operation on natural numbers; the result is never negative."""

    op: str
    a: int
    b: int

    @property
    def result(self) -> int:
        """Value of the operation."""
        return {"+": self.a + self.b, "-": self.a - self.b, "*": self.a * self.b}[self.op]


NAMES = ["Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jill", "Kai", "Lena", "Mia", "Noor"]
THINGS = ["apples", "books", "cards", "coins", "eggs", "marbles", "pens", "shells", "stamps", "stones"]

_GAIN = ["{name} finds {b} more.", "{name} buys {b} more.", "A friend brings {b} more."]
_LOSS = ["{name} gives away {b}.", "{name} sells {b}.", "{name} loses {b}."]
_EXPRESSIONS = ["What is {expr}?", "Compute {expr}.", "Calculate {expr}.", "Find the value of {expr}."]


def draw(rng: random.Random, difficulty: int) -> tuple[str, list[Step]]:
    """The text of a problem whose operands have up to `difficulty` digits, and its steps."""
    kind = rng.choice(["+", "-", "*", "word", "word"])
    if kind != "word":
        step = _step(rng, kind, difficulty)
        return rng.choice(_EXPRESSIONS).format(expr=f"{step.a} {step.op} {step.b}"), [step]
    return _story(rng, difficulty)


def _number(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1) if digits > 1 else 2, 10**digits - 1)


def _step(rng: random.Random, op: str, digits: int) -> Step:
    a, b = _number(rng, digits), _number(rng, digits)
    if op == "*":
        return Step("*", a, rng.randint(2, 9))
    return Step(op, max(a, b), min(a, b)) if op == "-" else Step(op, a, b)


def _story(rng: random.Random, digits: int) -> tuple[str, list[Step]]:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    if rng.random() < 0.3:
        first = _step(rng, "*", max(1, digits - 1))
        lines = [f"{name} has {first.b} boxes with {first.a} {thing} each."]
    else:
        first = _step(rng, rng.choice("+-"), digits)
        change = rng.choice(_GAIN if first.op == "+" else _LOSS)
        lines = [f"{name} has {first.a} {thing}.", change.format(name=name, b=first.b)]
    op = rng.choice("+-") if first.result > 2 else "+"
    b = rng.randint(2, first.result) if op == "-" else _number(rng, digits)
    b = min(b, 10**digits - 1)
    change = rng.choice(_GAIN if op == "+" else _LOSS).format(name=name, b=b)
    lines.append(f"Then {change.replace('A friend', 'a friend')}")
    lines.append(f"How many {thing} are there now?")
    return " ".join(lines), [first, Step(op, first.result, b)]


def worked(steps: list[Step]) -> str:
    """Every operation digit by digit, from the right, with every carry."""
    return "\n".join(_worked_step(step) for step in steps)


def _worked_step(step: Step) -> str:
    columns = {"+": _sum_columns, "-": _difference_columns, "*": _product_columns}[step.op](step.a, step.b)
    return f"{'. '.join(columns)}. {step.a}{step.op}{step.b}={step.result}"


def _digits(number: int) -> list[int]:
    return [int(digit) for digit in reversed(str(number))]


def _sum_columns(a: int, b: int) -> list[str]:
    lines, carry = [], 0
    da, db = _digits(a), _digits(b)
    for index in range(max(len(da), len(db))):
        terms = [digits[index] for digits in (da, db) if index < len(digits)] + ([carry] if carry else [])
        carry, _ = divmod(sum(terms), 10)
        lines.append("+".join(map(str, terms)) + f"={sum(terms)}" + (f" carry {carry}" if carry else ""))
    return lines


def _difference_columns(a: int, b: int) -> list[str]:
    lines, borrow = [], 0
    db = _digits(b)
    for index, digit in enumerate(_digits(a)):
        terms = ([db[index]] if index < len(db) else []) + ([borrow] if borrow else [])
        value = digit - sum(terms)
        borrow = int(value < 0)
        text = "-".join(map(str, [digit + 10 * borrow, *terms]))
        lines.append(f"{text}={value + 10 * borrow}" + (f" borrow {borrow}" if borrow else ""))
    return lines


def _product_columns(a: int, b: int) -> list[str]:
    lines, carry = [], 0
    for digit in _digits(a):
        product = digit * b
        total = product + carry
        text = f"{digit}*{b}={product}" + (f" {product}+{carry}={total}" if carry else "")
        carry = total // 10
        lines.append(text + (f" carry {carry}" if carry else ""))
    return lines
