"""How every figure looks, and how it becomes PNG and SVG: the same input gives the same bytes.

Colours are Okabe and Ito's, told apart with every kind of colour vision; markers, dashes and hatches say the same
again, for print in black. Figures are made without pyplot, so nothing global is left behind.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fst_cli.measure.history import Arm

# Vermillion, blue, green, purple, orange, sky, black; the eighth of the palette, yellow, is too pale on white.
COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "p"]
DASHES: list[Any] = ["-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (10, 3))]
HATCHES = ["", "///", "...", "\\\\\\", "xx", "++", "oo"]
PREFERRED = {"fst": 0, "rl": 1, "gepa": 2}  # so that a method looks the same in the figures of all tasks
DPI = 160
LOOK = {
    "svg.hashsalt": "fst",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.color": "black",
}


@dataclass(frozen=True)
class Style:
    """What tells an arm from the others of a figure."""

    colour: str
    marker: str
    dash: Any
    hatch: str

    @property
    def line(self) -> dict[str, Any]:
        """As keywords of `plot`."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dash, "markeredgewidth": 1.1}


@dataclass(frozen=True)
class Drawing:
    """A figure with its words: the stem of its files, the heading it stands under, a title and a caption."""

    name: str
    section: str
    title: str
    caption: str
    figure: Any


def style_at(place: int) -> Style:
    """One of many styles; colour and marker together repeat after 63."""
    return Style(*(values[place % len(values)] for values in (COLOURS, MARKERS, DASHES, HATCHES)))


def styles(arms: Sequence[Arm]) -> dict[str, Style]:
    """A style by arm, one of its own among the arms of a task, the same for a method wherever it stands alone."""
    taken: dict[str, set[int]] = {}
    found = {}
    for arm in arms:
        used = taken.setdefault(arm.runs[0].config["task"], set())
        free = (place for place in range(len(arms) + len(PREFERRED)) if place not in used)
        preferred = PREFERRED[arm.runs[0].method]
        # An arm that starts from other weights is one of several of its method: it leaves the place to the others.
        take = preferred not in used and not arm.runs[0].config.get("init_from")
        place = preferred if take else next(p for p in free if p not in PREFERRED.values())
        used.add(place)
        found[arm.name] = style_at(place)
    return found


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Settings of matplotlib while figures are made and saved."""
    import matplotlib

    with matplotlib.rc_context(LOOK), warnings.catch_warnings():
        # A folder's name in a script that the font lacks is drawn as boxes; that is no reason to fill the screen.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def panels(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, list[Any]]:
    """A figure, in inches, and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [axis for row in axes for axis in row]


def legend_below(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend under the axes, where it covers no line."""
    columns = len(labels)
    while columns > 1 and sum(sorted(len(label) + 7 for label in labels)[-columns:]) > 90:
        columns -= 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3.2, columnspacing=1.6)


def whole_numbers(axis: Any) -> None:
    """Ticks of a matplotlib axis at integers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def plain(text: str, longest: int = 48) -> str:
    """A name as matplotlib is to draw it: one line, no formula, never hidden from a legend."""
    text = "".join(char if char.isprintable() else "?" for char in text)
    text = text if len(text) <= longest else f"…{text[1 - longest :]}"  # what tells paths apart is at the end
    text = text.replace("$", r"\$")
    return f"\u200a{text}" if text.startswith("_") else text


def slug(text: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60] or "task"


def png(figure: Any) -> bytes:
    """The figure as PNG."""
    return _saved(figure, format="png", dpi=DPI, metadata={"Software": None})


def svg(figure: Any) -> bytes:
    """The figure as SVG, texts as outlines."""
    return _saved(figure, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})


def _saved(figure: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, **options)
    return stream.getvalue()
