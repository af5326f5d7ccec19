"""The folder that `fst report` leaves: which figures, that they show something, and what it refuses."""

import re

import pytest
from matplotlib.image import imread

from fst_cli.data.errors import DataError
from fst_cli.report.write import write_report

FIGURES = {
    "reward-updates-math", "reward-rollouts-math", "fit-math", "reward-kl-math", "plasticity-math", "continual-math-codeio",
    "continual-math-codeio-normalised", "grid-math", "grid-math-from-trained-weights", "grid-math-continual",
    "grid-codeio-continual", "population-math", "population-math-codeio", "lineage-math-fst", "lineage-math-gepa",
    "lineage-continual-fst", "seconds", "health-math", "health-math-codeio",
}  # fmt: skip


def test_every_figure_is_there_as_PNG_and_SVG_and_shows_something(report):
    files = {path.name for path in report.iterdir()}
    assert files == {f"{name}{end}" for name in FIGURES for end in (".png", ".svg")} | {"index.html"}
    for path in report.glob("*.png"):
        pixels = imread(path)
        assert pixels.shape[1] >= 900, path.name
        drawn = (pixels[..., :3] < 0.9).any(axis=-1).mean()
        assert drawn > 0.01, f"{path.name} is blank"
    for path in report.glob("*.svg"):
        assert path.read_bytes().count(b"<path") > 10 and b"dc:date" not in path.read_bytes()


def test_the_same_input_gives_the_same_bytes(tmp_path, planted):
    run = planted(tmp_path / "run", cycles=1).write()
    for out in ("a", "b"):
        write_report([run], tmp_path / out)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) > 10 and names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_run_that_has_just_begun_is_reported_as_far_as_it_is(tmp_path, planted, rows):
    run = planted(tmp_path / "run").write(rows=rows, bare=True)
    write_report([run], tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert re.search("<td>so far [0-9–]", text) and " of 6</td>" in text


def test_seeds_at_different_places_are_compared_where_all_have_been(tmp_path, planted):
    planted(tmp_path / "arm" / "seed-0", seed=0, fast=False).write(bare=True)
    planted(tmp_path / "arm" / "seed-1", seed=1, fast=False).write(rows=3, bare=True)
    write_report([tmp_path / "arm"], tmp_path / "out")
    assert "2–6 of 6" in (tmp_path / "out" / "index.html").read_text()


def test_an_older_report_is_replaced_whole_and_nothing_else_is(tmp_path, planted, fst_here):
    run = planted(tmp_path / "run", fast=False, cycles=1).write(rows=2, bare=True)
    first = fst_here("report", run, "-o", "out")
    assert first.returncode == 0 and "out/index.html" in first.stderr and first.stdout == ""
    (tmp_path / "out" / "old.png").touch()
    assert fst_here("report", run, "-o", "out").returncode == 0
    assert not (tmp_path / "out" / "old.png").exists()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    kept = fst_here("report", run, "-o", "out")
    assert kept.returncode == 2 and "notes.txt" in kept.stderr
    foreign = fst_here("report", run, "-o", "run")
    assert foreign.returncode == 2 and "is no report" in foreign.stderr and (run / "config.toml").exists()
    a_file = fst_here("report", run, "-o", "run/config.toml")
    assert a_file.returncode == 2 and (run / "config.toml").read_text()


def test_a_missing_run_is_bad_data_and_leaves_nothing(tmp_path, fst_here):
    done = fst_here("report", "none", "-o", "out")
    assert done.returncode == 3 and re.search("none: holds no run", done.stderr) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.toml", "task = ", "not valid TOML"),
        ("config.toml", "task = 'math'", "`seed` is missing"),
        ("metrics.jsonl", '{"update": 0}\n{', "metrics.jsonl:2: not valid JSON"),
        ("manifest.json", '{"cost": {"eval": 1}}', "no seconds by stage"),
        ("grid.stage.json", '{"inputs": {}}', "not the figures of a grid"),
        ("cycle-000/step-00/rollouts.jsonl", "{}\n", "rollouts.jsonl:1: "),
        ("cycle-001/prompts.jsonl", "[]\n", "prompts.jsonl:1: "),
    ],
)
def test_broken_files_are_named(tmp_path, planted, name, text, said):
    run = planted(tmp_path / "run").write()
    (run / name).write_text(text)
    with pytest.raises(DataError, match=re.escape(said)):
        write_report([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()
