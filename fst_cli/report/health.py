"""The health of training: what tells a collapse or a broken sampler before the reward does."""

from collections.abc import Iterator, Sequence
from typing import Any

from fst_cli.measure.history import Arm
from fst_cli.report.style import Drawing, Style, legend_below, panels, plain, slug, whole_numbers

PANELS = [
    ("slow/entropy", "entropy", "nats per token"),
    ("slow/grad_norm", "gradient norm", "before clipping"),
    ("slow/mismatch_kl", "sampler ‖ trainer mismatch KL", "nats per token"),
    ("rollout/truncated_share", "truncated rollouts", "share"),
]
Band = dict[int, tuple[float, float, float]]  # by update: mean, smallest, largest of the seeds


def health_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """A figure for all arms that learn the same."""
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        if any(values(arm, key) for key, _, _ in PANELS):
            groups.setdefault(arm.runs[0].config["task"], []).append(arm)
    for task, shown in groups.items():
        counts = sorted({len(arm.runs) for arm in shown})
        yield Drawing(
            f"health-{slug(task)}",
            "Training health",
            f"{task}: entropy, gradient norm, mismatch, truncation",
            "By update: mean entropy of the policy on its rollouts, norm of the gradient, KL between the sampler's and "
            "the trainer's log-probabilities, share of rollouts that hit the token limit. Line: mean over seeds, band: "
            f"smallest to largest seed (n = {' or '.join(map(str, counts))}).",
            _drawn(shown, looks),
        )


def values(arm: Arm, key: str) -> Band:
    """A figure of every update that each seed has made."""
    each = [
        {row["update"]: float(row[key]) for row in run.rows if isinstance(row.get(key), int | float)}
        for run in arm.runs
    ]
    updates = sorted(set.intersection(*(set(found) for found in each)))
    return {u: (sum(f[u] for f in each) / len(each), min(f[u] for f in each), max(f[u] for f in each)) for u in updates}


def _drawn(arms: Sequence[Arm], looks: dict[str, Style]) -> Any:
    figure, axes = panels(7.2, 5.2, rows=2, columns=2)
    handles: dict[str, Any] = {}
    for one, (key, title, unit) in zip(axes, PANELS, strict=True):
        for arm in arms:
            band, look = values(arm, key), looks[arm.name]
            if not band:
                continue
            x, (mean, low, high) = list(band), zip(*band.values(), strict=True)
            one.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
            (line,) = one.plot(x, mean, **look.line | {"markevery": max(1, len(x) // 8), "linewidth": 1.3})
            handles.setdefault(arm.name, line)
        one.set(title=title, ylabel=unit, xlabel="RL updates")
        one.margins(x=0.02)
        whole_numbers(one.xaxis)
        if key == "slow/mismatch_kl" and all(mean > 0 for arm in arms for mean, _, _ in values(arm, key).values()):
            one.set_yscale("log")
        else:
            one.set_ylim(bottom=min(0.0, one.get_ylim()[0]) if key == "slow/mismatch_kl" else 0.0)
    legend_below(figure, list(handles.values()), [plain(name) for name in handles])
    return figure
