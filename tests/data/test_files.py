import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from fst_cli.data import files, stage
from fst_cli.data.errors import DataError


def test_a_stage_is_complete_only_when_it_ended(tmp_path):
    out = tmp_path / "x.jsonl"
    with pytest.raises(RuntimeError), stage.stage("test", out, {}, {}):
        out.write_text("half")
        raise RuntimeError
    assert not stage.is_complete(out)
    with stage.stage("test", out, {}, {"k": 1}) as kept:
        out.write_text("whole")
        kept["figures"] = {"n": 2}
    assert stage.is_complete(out)
    record = files.read_json(stage.stage_path(out))
    assert (record["command"], record["settings"], record["figures"]) == ("test", {"k": 1}, {"n": 2})


def test_a_stage_that_runs_again_is_incomplete_while_it_runs(tmp_path):
    out = tmp_path / "x.jsonl"
    for _ in range(2):
        with stage.stage("test", out, {}, {}):
            assert not stage.is_complete(out)
            out.write_text("whole")


def test_inputs_are_recorded_by_hash(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("a")
    with stage.stage("test", out, {"source": source, "none": None, "stdin": "-"}, {}):
        out.write_text("b")
    inputs = files.read_json(stage.stage_path(out))["inputs"]
    assert inputs == {"source": {"path": str(source), "sha256": files.sha256(source)}}


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "weights"
    for content in ("old", "new"):
        with files.atomic_folder(target) as folder:
            (folder / content).write_text(content)
            assert target.exists() == (content == "new")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "weights"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_text("a")
    with pytest.raises(RuntimeError), files.atomic_folder(target) as folder:
        (folder / "b").write_text("b")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_files_get_the_permissions_that_the_umask_leaves(tmp_path):
    old = os.umask(0o027)
    try:
        with files.atomic_file(tmp_path / "x") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_the_hash_of_a_folder_changes_with_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    first = files.sha256(tmp_path)
    (tmp_path / "stage.json").write_text("{}")
    assert files.sha256(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert files.sha256(tmp_path) != first


def test_json_that_is_not_an_object_is_a_data_error(tmp_path):
    for content in ("[1]", "{", ""):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(DataError):
            files.read_json(tmp_path / "x.json")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def heeds_ctrl_c():
    """As at a terminal; what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_first_ctrl_c_waits_for_the_end_of_a_write_and_a_second_does_not(tmp_path, heeds_ctrl_c):
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(tmp_path / "whole") as folder:
        interrupt()
        (folder / "a").write_text("all of it")
    assert (tmp_path / "whole/a").read_text() == "all of it"
    reached = []
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(tmp_path / "none"):
        interrupt()
        reached.append(1)
        interrupt()
        reached.append(2)
    assert reached == [1] and sorted(path.name for path in tmp_path.iterdir()) == ["whole"]
    with pytest.raises(KeyboardInterrupt), files.unbroken(), files.unbroken():
        interrupt()
        reached.append(3)
    assert reached == [1, 3], "the outermost block decides"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_those_who_ignore_ctrl_c_are_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with files.unbroken():
            interrupt()
    finally:
        signal.signal(signal.SIGINT, before)
    with ThreadPoolExecutor(1) as pool:

        def work():
            with files.unbroken():
                return "done"

        assert pool.submit(work).result() == "done"


def test_what_is_pruned_keeps_its_digest(tmp_path):
    folder, file = tmp_path / "weights", tmp_path / "state.safetensors"
    folder.mkdir()
    (folder / "a").write_text("a")
    file.write_text("b")
    before = files.sha256(folder), files.sha256(file)
    for path in (folder, file):
        files.prune(path)
        files.prune(path)
        assert not path.exists()
    assert (files.sha256(folder), files.sha256(file)) == before
