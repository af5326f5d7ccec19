import io

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.data import jsonl
from fst_cli.data.errors import DataError
from fst_cli.data.records import SCHEMAS, Message, Problem, Prompt


def problem(**changes):
    values = {"id": "p1", "task": "math", "split": "train", "messages": [Message(role="user", content="1+1?")]}
    return Problem.model_validate({**values, "answer": "2", **changes})


def test_what_is_written_is_read_back(tmp_path):
    problems = [problem(id=str(i), answer='ünïcode \\ "quotes"\n') for i in range(5)]
    assert jsonl.write(tmp_path / "x.jsonl", problems) == 5
    assert list(jsonl.read(tmp_path / "x.jsonl", Problem)) == problems


@given(st.text(), st.text())
def test_any_text_survives(instruction, edit):
    prompt = Prompt(id="x", instruction=instruction, edit=edit)
    assert Prompt.model_validate(orjson.loads(jsonl.dump_line(prompt))) == prompt


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_a_data_error_with_a_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "x.jsonl"
    path.write_bytes(content)
    try:
        list(jsonl.read(path, Problem))
    except DataError as error:
        assert str(error).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"id": 1,', "not valid JSON"),
        (b'{"id": "x", "task": "math"}', "split: field required"),
        (b"[]", "record"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, said):
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl.dump_line(problem()) + b"\n\n" + line + b"\n")
    with pytest.raises(DataError, match=f":3: .*{said}"):
        list(jsonl.read(path, Problem))


def test_an_unknown_field_is_an_error_that_names_the_nearest(tmp_path):
    value = {**problem().model_dump(), "anwser": "3"}
    path = tmp_path / "x.jsonl"
    path.write_bytes(orjson.dumps(value))
    with pytest.raises(DataError, match="anwser: unknown field") as caught:
        list(jsonl.read(path, Problem))
    assert "`answer`" in caught.value.hint


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "x.jsonl"
    jsonl.write(path, [problem()])
    before = path.read_bytes()

    def broken():
        yield problem(id="other")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        jsonl.write(path, broken())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_dash_reads_standard_input_and_writes_standard_output(monkeypatch):
    class Stream:
        def __init__(self, content=b""):
            self.buffer = io.BytesIO(content)

    out = Stream()
    monkeypatch.setattr("sys.stdin", Stream(jsonl.dump_line(problem())))
    monkeypatch.setattr("sys.stdout", out)
    assert jsonl.write("-", jsonl.read("-", Problem)) == 1
    assert orjson.loads(out.buffer.getvalue())["id"] == "p1"


def test_every_record_has_a_schema_with_its_fields():
    for name, kind in SCHEMAS.items():
        schema = kind.model_json_schema()
        assert set(schema["properties"]) == set(kind.model_fields), name
        assert schema["additionalProperties"] is False


def test_a_byte_order_mark_and_crlf_are_passed_over(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [jsonl.dump_line(problem(id=str(number))) for number in range(3)]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    assert [one.id for one in jsonl.read(path, Problem)] == ["0", "1", "2"]


def test_a_line_without_end_is_told_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 2**20)
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl.dump_line(problem()) + b"\n" + b"x" * 2**21)
    with pytest.raises(DataError, match=":2: a line of more than 1 MiB"):
        list(jsonl.read(path, Problem))


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\xed\xa0\x80"', b'"\xff"'])
def test_malformed_unicode_is_a_data_error(tmp_path, text):
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl.dump_line(problem()).replace(b'"2"', text))
    with pytest.raises(DataError, match=":1: not valid JSON"):
        list(jsonl.read(path, Problem))


def test_an_empty_file_holds_no_record(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n\n")
    with pytest.raises(DataError, match="holds no problem record"):
        jsonl.read_all(path, Problem)
