"""Find a wrong step: the first sum, difference, product or quotient of plain numbers that is not what it says."""

import re
from fractions import Fraction

LONGEST = 20_000  # characters looked at; a reply's steps come before its answer
_NUMBER = r"\d{1,30}(?:\.\d{1,30})?"
_OPERATOR = r"(?:[-+*/×÷−]|\\times|\\cdot|\\div)"
_CHAIN = rf"-?{_NUMBER}(?:\s?{_OPERATOR}\s?{_NUMBER}){{1,20}}"
# Nothing that makes it part of something larger may stand beside it: no letter, power, bracket or further operator.
_EQUATION = re.compile(rf"(?<![\w.,^/*+\-)]) ?({_CHAIN})\s?=\s?(-?{_NUMBER})(?![\w^%]|\.\d|\s?{_OPERATOR}\s?\d)")
_TOKEN = re.compile(rf"{_NUMBER}|[-+*/]")
_WRITTEN = {"×": "*", "\\times": "*", "\\cdot": "*", "÷": "/", "\\div": "/", "−": "-"}


def first_wrong_step(text: str) -> str | None:
    """The first false equation such as `12*3 = 35` in `text`; None where all that can be read are true.

    A quotient or a decimal may be rounded to the digits it is written with.
    """
    for match in _EQUATION.finditer(text[:LONGEST].replace("$", "").replace("\\$", "")):
        expression, result = match.groups()
        for sign, plain in _WRITTEN.items():
            expression = expression.replace(sign, plain)
        value = _value(expression)
        digits = len(result.partition(".")[2])
        if value is not None and abs(value - Fraction(result)) * 2 > Fraction(1, 10**digits) * ("/" in expression):
            return match.group(0).strip()
    return None


def _value(expression: str) -> Fraction | None:
    """The value of a chain of numbers, products before sums; None for a division by zero."""
    tokens = _TOKEN.findall(expression)
    negative = tokens[0] == "-"
    tokens = tokens[negative:]
    terms = [Fraction(tokens[0]) * (-1 if negative else 1)]
    for operator, number in zip(tokens[1::2], map(Fraction, tokens[2::2]), strict=True):
        if operator == "/" and not number:
            return None
        if operator in "*/":
            terms[-1] = terms[-1] * number if operator == "*" else terms[-1] / number
        else:
            terms.append(number if operator == "+" else -number)
    return sum(terms, Fraction(0))
