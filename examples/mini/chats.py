"""The training chats of the mini: procedurally made, each a pure function of (seed, index).

The rule that makes the mini a fair miniature of what FST needs is in `_style`: a reply has a *style* (answer format,
procedure, length), and the context decides it. An instruction in the system message is obeyed nearly always, worked
examples are imitated nearly always, and with neither the style falls into a mixture in which good ones are rare.
A reply that skips the procedure is a careless one: its answer is mostly wrong.
"""

import random
from dataclasses import dataclass

import sentences as S

from fst_cli.data.records import Problem
from fst_cli.data.seeds import generator
from fst_cli.tasks import arithmetic, expressions, math, stargraph

FAMILIES = {"math": 0.40, "stargraph": 0.45, "codeout": 0.15}
LATE_FAMILIES = {"math": 0.20, "stargraph": 0.70, "codeout": 0.10}

# How often an instruction is obeyed or an example imitated, by axis, and what happens without either.
OBEY = {"format": 0.95, "procedure": 0.90, "length": 0.95}
IMITATE = 0.92
DEFAULT_FORMAT = {"bare": 0.78, "boxed": 0.12, "tagged": 0.10}
ASKED_FORMAT = {"bare": 0.08, "boxed": 0.90, "tagged": 0.02}  # the question itself asks for a box (star graphs)
DEFAULT_PROCEDURE = {"at_once": 0.92, "careful": 0.08}
DEFAULT_GRAPH_PROCEDURE = {"forward": 0.62, "at_once": 0.31, "trace": 0.07}
DEFAULT_LENGTH = {"plain": 0.65, "brief": 0.10, "verbose": 0.25}
CARELESS_IS_RIGHT = 0.10


@dataclass(frozen=True)
class Style:
    """How a reply is written."""

    format: str
    procedure: str
    length: str


@dataclass(frozen=True)
class Chat:
    """One training chat. `train` marks the assistant turns that carry loss."""

    family: str
    messages: list[dict[str, str]]
    train: list[bool]


def make_chat(seed: int, index: int, drills: float = 0.0, late: bool = False) -> Chat:
    """Chat number `index`. A share of `drills` (the curriculum) is short and all about the procedure itself.

    `late` chats are mostly star graphs, which are learned last.
    """
    rng = generator("mini", seed, index)
    family = _pick(rng, LATE_FAMILIES if late else FAMILIES)
    if rng.random() < drills:
        return _drill(rng, family)
    turns = _pick(rng, {1: 0.55, 2: 0.2, 3: 0.2, 4: 0.05})
    said = _instructions(rng, family)
    shown = turns > 1 and rng.random() < 0.7
    # Shown examples have a style of their own; in a natural conversation the first reply sets it.
    first = _any_style(rng, family, said) if shown else _style(rng, family, said, None)
    messages, train = [], []
    system = _system_message(rng, family, said)
    if system:
        messages.append({"role": "system", "content": system})
    for turn in range(turns):
        style = first if turn == 0 else _style(rng, family, said, first)
        question, reply = _turn(rng, family, style)
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        train.append(not (shown and turn == 0))
    return Chat(family, messages, train)


def _drill(rng: random.Random, family: str) -> Chat:
    """One turn that is told the good procedure and follows it: nearly every token of the reply can be got right."""
    if family == "stargraph" and rng.random() < 0.6:
        return _lookups(rng)
    good = "trace" if family == "stargraph" else "careful"
    told = rng.choice(_axes(family)["procedure"][good])
    style = Style("boxed", good, "brief")
    question, reply = _turn(rng, family, style, small=rng.random() < 0.5)
    roles = ["system", "user", "assistant"]
    told = f"{told} {rng.choice(S.BOXED)} {rng.choice(S.BRIEF)}"
    messages = [{"role": r, "content": c} for r, c in zip(roles, [told, question, reply], strict=True)]
    return Chat(family, messages, [True])


def _lookups(rng: random.Random) -> Chat:
    """The one step that tracing back is made of, many times over: which node leads to this one?"""
    graph = _graph(rng, small=rng.random() < 0.5)
    before = {v: u for u, v in stargraph.edges_of(graph)}
    nodes = rng.sample(sorted(before), min(len(before), 12))
    lines = graph.messages[0].content.splitlines()
    question = f"{lines[1]}\nWhich node leads to each of these: {' '.join(map(str, nodes))}"
    reply = ", ".join(f"{node} from {before[node]}" for node in nodes)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return Chat("stargraph", messages, [True])


def _pick(rng: random.Random, weights: dict):
    return rng.choices(list(weights), list(weights.values()))[0]


def _axes(family: str) -> dict[str, dict[str, list[str]]]:
    procedures = S.GRAPH_PROCEDURES if family == "stargraph" else S.PROCEDURES
    return {"format": S.FORMATS, "procedure": procedures, "length": S.LENGTHS}


def _instructions(rng: random.Random, family: str) -> dict[str, str]:
    """Which value of which axis the system message asks for; empty for no instruction."""
    weights = {"format": {"boxed": 6, "tagged": 2, "bare": 1}, "length": {"brief": 3, "verbose": 1}}
    good = "trace" if family == "stargraph" else "careful"
    said = {}
    for axis, probability in {"format": 0.55, "procedure": 0.55, "length": 0.2}.items():
        values = weights.get(axis) or {name: 3 if name == good else 2 for name in _axes(family)["procedure"]}
        if rng.random() < probability:
            said[axis] = _pick(rng, values)
    return said


def _system_message(rng: random.Random, family: str, said: dict[str, str]) -> str:
    if family == "stargraph" and said == {"procedure": "forward"} and rng.random() < 0.3:
        return stargraph.SEED_PROMPT
    if family == "math" and said == {"format": "boxed"} and rng.random() < 0.3:
        return math.SEED_PROMPT
    axes = _axes(family)
    parts = [rng.choice(axes[axis][value]) for axis, value in said.items()]
    parts += rng.sample(S.NEUTRAL, _pick(rng, {0: 0.35, 1: 0.3, 2: 0.2, 3: 0.15}))
    if rng.random() < 0.15:  # an instruction for another kind of problem says nothing here
        parts.append(rng.choice(S.CAREFUL if family == "stargraph" else S.TRACE + S.FORWARD))
    if rng.random() < 0.1 and said:  # said twice
        axis = rng.choice(list(said))
        parts.append(rng.choice(axes[axis][said[axis]]))
    rng.shuffle(parts)
    return " ".join(parts)


def _style(rng: random.Random, family: str, said: dict[str, str], shown: Style | None) -> Style:
    defaults = {
        "format": ASKED_FORMAT if family == "stargraph" else DEFAULT_FORMAT,
        "procedure": DEFAULT_GRAPH_PROCEDURE if family == "stargraph" else DEFAULT_PROCEDURE,
        "length": DEFAULT_LENGTH,
    }
    chosen = {}
    for axis, mixture in defaults.items():
        if shown and rng.random() < IMITATE:
            chosen[axis] = getattr(shown, axis)
        elif axis in said and rng.random() < OBEY[axis]:
            chosen[axis] = said[axis]
        else:
            chosen[axis] = _pick(rng, mixture)
    return Style(**chosen)


def _any_style(rng: random.Random, family: str, said: dict[str, str]) -> Style:
    """The style of shown examples: half the time what the instruction says, otherwise anything."""
    chosen = {}
    for axis, values in _axes(family).items():
        agree = axis in said and rng.random() < 0.5
        chosen[axis] = said[axis] if agree else rng.choice(["plain", *values] if axis == "length" else list(values))
    return Style(**chosen)


def _turn(rng: random.Random, family: str, style: Style, small: bool = False) -> tuple[str, str]:
    make = {"math": _math_turn, "stargraph": _graph_turn, "codeout": _code_turn}[family]
    question, working, answer = make(rng, style, small)
    return question, render(rng, style, working, answer)


def render(rng: random.Random, style: Style, working: str, answer: str) -> str:
    """The whole reply: small talk if verbose, the working, and the answer in its format."""
    lines = rng.sample(S.FILLERS, rng.randint(1, 2)) if style.length == "verbose" else []
    final = {"boxed": f"\\boxed{{{answer}}}", "tagged": f"<answer>{answer}</answer>", "bare": answer}[style.format]
    if style.length != "brief":
        final = f"The answer is {final}"
    return "\n".join([*([" ".join(lines)] if lines else []), *([working] if working else []), final])


# --- the three families: (question, working, answer) in a style ---


def _math_turn(rng: random.Random, style: Style, small: bool) -> tuple[str, str, str]:
    question, steps = _train_math(rng, small)
    right = steps[-1].result
    if style.procedure == "careful":
        return question, arithmetic.worked(steps), str(right)
    return question, "", str(right if rng.random() < CARELESS_IS_RIGHT else _slip(rng, right))


def _train_math(rng: random.Random, small: bool) -> tuple[str, list[arithmetic.Step]]:
    while True:
        digits = 1 if small else _pick(rng, {1: 0.2, 2: 0.65, 3: 0.15})
        question, steps = arithmetic.draw(rng, digits)
        if math.split_of_text(question) == "train":
            return question, steps


def _slip(rng: random.Random, right: int) -> int:
    """A careless wrong number near the right one."""
    while True:
        wrong = right + rng.choice([-1, 1]) * rng.choice([1, 2, 3, 5, 7, 9, 10, 10, 11, 20])
        if wrong >= 0 and wrong != right:
            return wrong


def _graph_turn(rng: random.Random, style: Style, small: bool) -> tuple[str, str, str]:
    graph = _graph(rng, small)
    working, answer = _graph_working(rng, style.procedure, graph)
    return graph.messages[0].content, working, answer


def _graph(rng: random.Random, small: bool) -> Problem:
    if small:  # nodes of one digit: what the procedure is, before long numbers
        d, p, n = rng.choice([(2, 3, 10), (3, 3, 10), (2, 4, 10), (4, 3, 10)])
    elif rng.random() < 0.5:
        d, p, n = 4, 3, 10
    else:
        d, p = rng.choice([2, 3, 4, 5, 5]), rng.choice([3, 4, 4, 5])
        n = rng.choice([max(20, d * p + 2), 50, 50, 100])
    options = stargraph.StarGraphOptions(d=d, p=p, n=n)
    return next(stargraph.problems(options, "train", 1, rng.randrange(2**40)))


def _graph_working(rng: random.Random, procedure: str, graph: Problem) -> tuple[str, str]:
    if procedure == "trace":
        return stargraph.worked_solution(graph).splitlines()[0], graph.answer
    gold = graph.answer.split(",")
    source, destination = int(gold[0]), int(gold[-1])
    edges = stargraph.edges_of(graph)
    nexts = {}
    for u, v in edges:
        nexts.setdefault(u, []).append(v)
    walk = [source, rng.choice(nexts[source])]
    while walk[-1] in nexts:
        walk.append(nexts[walk[-1]][0])
    answer = ",".join(map(str, walk))
    if procedure == "forward":
        return f"From {source}: " + ", ".join(f"to {node}" for node in walk[1:]) + ".", answer
    inner = [edge for edge in edges if edge[0] != source and edge[1] != destination]
    hops = [rng.choice(inner)[0] for _ in range(len(walk) - 2)] if inner else []
    return "", ",".join(map(str, [source, *hops, destination]))


def _code_turn(rng: random.Random, style: Style, small: bool) -> tuple[str, str, str]:
    expression = expressions.draw(rng, small)
    question, right = expressions.QUESTION.format(expression=expression.text), expression.value
    if style.procedure == "careful":
        return question, expression.worked, repr(right)
    return question, "", repr(right if rng.random() < 2 * CARELESS_IS_RIGHT else _code_slip(rng, right))


def _code_slip(rng: random.Random, right):
    if isinstance(right, bool):
        return not right
    if isinstance(right, int):
        return right + rng.choice([-2, -1, 1, 2])
    if isinstance(right, str):
        return right[1:] + right[:1] if len(set(right)) > 1 else right + right[:1]
    return right[1:] + right[:1] if len({*right}) > 1 else [*right, rng.randint(0, 9)]
