"""One HTML page that holds the whole report: no script, no address of anything outside, everything escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fst_cli import __version__
from fst_cli.data.text import cut, visible
from fst_cli.measure.history import Arm
from fst_cli.report.samples import populations, sampled_runs
from fst_cli.report.series import tasks_of
from fst_cli.report.tables import COSTS, RESULTS, configurations, cost_row, result_row

GENERATOR = '<meta name="generator" content="fst report">'  # what tells a report from a folder of something else


@dataclass(frozen=True)
class Figure:
    """A figure on the page; `svg` is markup of our own making."""

    name: str
    section: str
    title: str
    caption: str
    svg: str


def facts(arms: Sequence[Arm]) -> dict[str, Any]:
    """All that the page shows beside the figures, read from the runs' files."""
    return {
        "arms": [arm.name for arm in arms],
        "runs": sum(len(arm.runs) for arm in arms),
        "tasks": tasks_of(arms),
        "several": any(len(arm.runs) > 1 for arm in arms),
        "tables": [
            ("What was run", RESULTS, [result_row(arm) for arm in arms]),
            ("What it cost", ["arm", *COSTS, "all stages, s"], [cost_row(arm) for arm in arms]),
        ],
        "configurations": configurations(arms),
        "populations": populations(arms),
        "sampled": sampled_runs(arms),
    }


def page(found: dict[str, Any], figures: Sequence[Figure]) -> str:
    """The page of some `facts` and figures."""
    from markupsafe import Markup

    sections: dict[str, list[Figure]] = {}
    for figure in figures:
        sections.setdefault(figure.section, []).append(figure)
    svgs = {figure.name: Markup(figure.svg) for figure in figures}
    own = {"generator": Markup(GENERATOR), "version": __version__, "sections": sections, "svgs": svgs}
    return _template().render(found | own)


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        """Every text that the template puts out, before it is escaped."""
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True, finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cut"] = cut
    return environment.from_string(files("fst_cli.report").joinpath("page.html.j2").read_text("utf-8"))
