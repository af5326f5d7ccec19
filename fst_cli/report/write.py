"""`fst report`: from runs to a folder with every figure as PNG and SVG, and the page."""

from collections.abc import Sequence
from pathlib import Path

from fst_cli.console import say
from fst_cli.data.errors import DataError, UsageError
from fst_cli.data.files import atomic_folder
from fst_cli.measure.history import load_arms
from fst_cli.report.figures import all_figures
from fst_cli.report.inline import inline_svg
from fst_cli.report.page import GENERATOR, Figure, facts, page
from fst_cli.report.style import look, png, svg


def write_report(places: Sequence[Path], out: Path) -> None:
    """Write the report of the arms at `places` into `out`; an older report there is replaced whole.

    Raises UsageError where `out` holds anything but a report, DataError where a run is missing or broken.
    """
    _refuse_to_replace(out)
    arms = load_arms(list(places))
    for run in (run for arm in arms for run in arm.runs):
        if missing := [key for key in ("model", "cycles", "steps_per_cycle") if key not in run.config]:
            raise DataError(f"{run.folder}/config.toml: not the configuration of a run: `{missing[0]}` is missing")
    # Files that are broken are found before anything is drawn.
    found, figures = facts(arms), []
    with atomic_folder(out) as folder, look():
        for number, drawing in enumerate(all_figures(arms)):
            outlines = svg(drawing.figure)
            (folder / f"{drawing.name}.png").write_bytes(png(drawing.figure))
            (folder / f"{drawing.name}.svg").write_bytes(outlines)
            words = (drawing.name, drawing.section, drawing.title, drawing.caption)
            figures.append(Figure(*words, inline_svg(outlines, f"f{number}", drawing.title)))
        text = page(found, figures)
        (folder / "index.html").write_text(text, encoding="utf-8")
    runs = sum(len(arm.runs) for arm in arms)
    size = len(text.encode()) / 2**20
    say(f"{runs} runs of {len(arms)} arms: {len(figures)} figures and a page of {size:.1f} MiB  -> {out}/index.html")


def _refuse_to_replace(out: Path) -> None:
    """Only a report gives way to a report."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    index = out / "index.html"
    if not (out.is_dir() and index.is_file() and GENERATOR.encode() in index.read_bytes()[:2000]):
        raise UsageError(f"{out} exists and is no report", hint="give another folder with -o")
    if strange := sorted(path.name for path in out.iterdir() if path.suffix not in (".png", ".svg", ".html")):
        raise UsageError(f"{out} holds what no report made: {strange[0]}", hint="it would be lost; move it first")
