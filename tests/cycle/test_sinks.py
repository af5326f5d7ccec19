"""Every sink's own reader finds what metrics.jsonl holds."""

import json
import re
import sqlite3
from types import SimpleNamespace

import pytest

from fst_cli.cycle.config import make_config
from fst_cli.cycle.recipes import recipe
from fst_cli.cycle.sinks import Sinks, check_sinks
from fst_cli.data.errors import UsageError

ROWS = [
    {"update": 0, "eval/success_mean@4": 0.1},
    {"update": 0, "task": "math", "cycle": 0, "fast/pool": 3, "eval/success_mean@4": 0.4},
    {"update": 1, "task": "math", "cycle": 0, "step": 0, "slow/loss": -0.5, "slow/clip_interval": [0.0, 4.0]},
]


def config(*sinks):
    return make_config(recipe("demo", "math", "mini"), {"sinks": list(sinks), "engine.base_url": "http://secret"})


def log_in_two_processes(name, folder):
    """All lines but the last are complete; then the run is resumed and ends."""
    first = Sinks(config(name), folder)
    first.log(ROWS[:2])
    first.log(ROWS[:2])
    first.close()
    second = Sinks(config(name), folder)
    second.log(ROWS)
    second.log(ROWS, ended=True)
    second.close()


def test_tensorboard_has_every_number_once(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log_in_two_processes("tensorboard", tmp_path)
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    values = {tag: [(e.step, round(e.value, 6)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert values["eval/success_mean@4"] == [(0, 0.1), (0, 0.4)] and values["slow/loss"] == [(1, -0.5)]
    assert "slow/clip_interval" not in values and "task" not in values


def test_wandb_has_every_number_once_and_no_address(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_in_two_processes("wandb", tmp_path)
    files = [path.read_bytes() for path in (tmp_path / "wandb").glob("offline-run-*/*.wandb")]
    assert len(files) == 2 and not any(b"secret" in file for file in files)
    for value in (b"0.1", b"0.4"):
        with_value = [file for file in files if re.search(rb"eval/success_mean@4.{3}" + re.escape(value), file, re.S)]
        assert len(with_value) == 1, "each line is in one of the two processes' files"


def test_trackio_has_every_number_once(tmp_path, monkeypatch, capsys):
    pytest.importorskip("trackio")
    import trackio.sqlite_storage
    import trackio.utils

    monkeypatch.setattr(trackio.utils, "TRACKIO_DIR", tmp_path)
    monkeypatch.setattr(trackio.sqlite_storage, "TRACKIO_DIR", tmp_path)
    log_in_two_processes("trackio", tmp_path)
    assert capsys.readouterr().out == "", "standard output is for data"
    with sqlite3.connect(tmp_path / "fst.db") as database:
        rows = [json.loads(row[0]) for row in database.execute("select metrics from metrics order by step")]
    assert [row.get("eval/success_mean@4") for row in rows] == [0.1, 0.4, None] and rows[2]["slow/loss"] == -0.5


def test_a_sink_that_fails_is_left_out_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    from fst_cli.cycle import sinks

    seen = []

    def broken(folder, config):
        def log(numbers, number):
            raise ConnectionError("no route")

        return SimpleNamespace(log=log, close=lambda: seen.append("closed"))

    good = SimpleNamespace(log=lambda numbers, number: seen.append(number), close=lambda: None)
    monkeypatch.setattr(sinks, "_SINKS", {"wandb": broken, "trackio": lambda folder, config: good})
    open_ = Sinks(config("wandb", "trackio"), tmp_path)
    open_.log(ROWS, ended=True)
    open_.close()
    assert seen == [0, 1, 2]
    assert capsys.readouterr().err.count("wandb fails and is left out: ConnectionError: no route") == 1


def test_a_missing_package_or_an_unknown_sink_is_a_usage_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--sink wandb: its package is not installed"):
        check_sinks(["wandb"])
    with pytest.raises(UsageError, match="sinks"):
        config("mlflow")
