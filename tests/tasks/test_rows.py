import gzip
import json

import pytest

from fst_cli.data.errors import DataError
from fst_cli.tasks.rows import EmptyFieldError, Row, own_splits, read_rows

ROWS = [{"question": f"{i}+{i}?", "answer": 2 * i} for i in range(5)]


def write(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows) if ".json." in f"{path.name}." else "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name):
    assert [row.value for row in read_rows(str(write(tmp_path / name)))] == ROWS


def test_a_parquet_file_gives_the_same_rows(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'fst-cli[hub]'")
    datasets.Dataset.from_list(ROWS).to_parquet(tmp_path / "a.parquet")
    assert [row.value for row in read_rows(str(tmp_path / "a.parquet"))] == ROWS


def test_a_data_set_repository_is_read_with_its_own_splits(tmp_path):
    """The hub's own reader, on a copy of a repository: what a hub id does, without the network."""
    pytest.importorskip("datasets", reason="needs datasets: pip install 'fst-cli[hub]'")
    write(tmp_path / "repo/train.jsonl")
    write(tmp_path / "repo/test.jsonl", ROWS[:2])
    place = f"hub:{tmp_path}/repo"
    splits = own_splits(place)
    assert [row.value for row in read_rows(splits["train"])] == ROWS
    assert [row.value for row in read_rows(splits["test"])] == ROWS[:2]


def test_a_hub_id_that_is_not_there_is_one_sentence_with_a_way_out(monkeypatch):
    pytest.importorskip("datasets", reason="needs datasets: pip install 'fst-cli[hub]'")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="hub:nobody/nothing") as caught:
        list(read_rows("hub:nobody/nothing"))
    assert "--data" in caught.value.hint and "\n" not in str(caught.value)


def test_a_folder_with_one_train_and_one_test_file_has_splits_of_its_own(tmp_path):
    write(tmp_path / "gsm/train.jsonl")
    assert own_splits(str(tmp_path / "gsm")) is None
    write(tmp_path / "gsm/test.jsonl")
    found = own_splits(str(tmp_path / "gsm"))
    assert found["train"].endswith("train.jsonl") and found["test"].endswith("test.jsonl")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", b'{"question": "1"}\n{', "a.jsonl:2: not valid JSON"),
        ("a.jsonl", b"3\n", "a.jsonl:1: not a JSON object"),
        ("a.json", b'{"question": "1"}', "not a JSON list"),
        ("a.jsonl", b"", "holds no rows"),
        ("a.jsonl.gz", b"not gzip", "a.jsonl.gz"),
        ("a.parquet", b"not parquet", "a.parquet"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, name, text, said):
    if name.endswith("parquet"):
        pytest.importorskip("datasets", reason="needs datasets: pip install 'fst-cli[hub]'")
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=said):
        list(read_rows(str(tmp_path / name)))


@pytest.mark.parametrize("place", ["nothing.jsonl", "."])
def test_a_place_without_data_is_named(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        list(read_rows(place))


def test_a_named_column_is_the_only_one_looked_at():
    row = Row({"problem": "a", "text": "b"}, "x:1", 1, {"question": "text"})
    assert row.text("question", "problem") == "b"
    with pytest.raises(DataError) as caught:
        Row({"problem": "a"}, "x:1", 1, {"question": "text"}).text("question", "problem")
    assert "columns.question=COLUMN" in caught.value.hint


def test_an_empty_field_is_a_hole_and_a_missing_column_is_not():
    with pytest.raises(EmptyFieldError):
        Row({"answer": None}, "x:1", 1, {}).text("answer")
    with pytest.raises(DataError) as caught:
        Row({"other": 1}, "x:1", 1, {}).text("answer")
    assert not isinstance(caught.value, EmptyFieldError)
