"""All figures of a report, in the order of the page; those for which the runs hold no data are left out."""

from collections.abc import Sequence

from fst_cli.measure.history import Arm
from fst_cli.report.continual import continual_figures
from fst_cli.report.cost import cost_figures
from fst_cli.report.fits import fit_figures
from fst_cli.report.grid import grid_figures
from fst_cli.report.health import health_figures
from fst_cli.report.population import population_figures
from fst_cli.report.reward import kl_figures, plasticity_figures, reward_figures
from fst_cli.report.style import Drawing, styles


def all_figures(arms: Sequence[Arm]) -> list[Drawing]:
    """Draw them; call it inside `style.look()`. Names of files are made to differ."""
    looks = styles(arms)
    drawings = [
        *reward_figures(arms, looks),
        *fit_figures(arms, looks),
        *kl_figures(arms, looks),
        *plasticity_figures(arms, looks),
        *continual_figures(arms, looks),
        *grid_figures(arms, looks),
        *population_figures(arms, looks),
        *cost_figures(arms),
        *health_figures(arms, looks),
    ]
    return _with_names_of_their_own(drawings)


def _with_names_of_their_own(drawings: list[Drawing]) -> list[Drawing]:
    from dataclasses import replace

    seen: dict[str, int] = {}
    found = []
    for drawing in drawings:
        number = seen[drawing.name] = seen.get(drawing.name, 0) + 1
        found.append(drawing if number == 1 else replace(drawing, name=f"{drawing.name}-{number}"))
    return found
