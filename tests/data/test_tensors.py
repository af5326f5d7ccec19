from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from fst_cli.data import tensors
from fst_cli.data.errors import DataError
from fst_cli.data.tensors import Tokens

ids = st.lists(st.integers(0, 200_000), max_size=6)


def rows_of(shapes):
    return [Tokens(prompt, done, np.linspace(-5, 0, len(done), dtype=np.float32)) for prompt, done in shapes]


@given(st.lists(st.tuples(ids, ids), max_size=5))
def test_ragged_rows_come_back_exactly(tmp_path_factory, shapes):
    path = tmp_path_factory.mktemp("t") / "r.safetensors"
    rows = rows_of(shapes)
    tensors.write(path, rows)
    back = tensors.read(path)
    assert [(row.prompt_ids, row.completion_ids) for row in back] == shapes
    assert all((a.logprobs == b.logprobs).all() for a, b in zip(rows, back, strict=True))


def test_masks_come_back_and_a_row_without_one_was_sampled_whole(tmp_path):
    path = tmp_path / "r.safetensors"
    rows = rows_of([([1], [3, 4, 5]), ([1, 2], [6, 7]), ([1], [])])
    rows[0] = replace(rows[0], mask=np.array([True, False, True]))
    tensors.write(path, rows)
    back = tensors.read(path)
    assert [row.sampled.tolist() for row in back] == [[True, False, True], [True, True], []]
    assert all(row.sampled.dtype == bool for row in back)
    assert back[0].sampled_logprobs.tolist() == [-5, 0]


def test_a_file_of_an_earlier_version_without_mask_was_sampled_whole(tmp_path):
    path = tmp_path / "r.safetensors"
    tensors.write(path, rows_of([([1, 2], [3, 4, 5])]))
    arrays = load_file(path)
    del arrays["sampled"]
    save_file(arrays, path)
    (row,) = tensors.read(path)
    assert row.sampled.tolist() == [True] * 3 and len(row.sampled_logprobs) == 3


@given(st.binary(max_size=64))
def test_any_bytes_are_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("t") / "r.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError):
        tensors.read(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_offsets", np.array([0, 5], dtype=np.int64)),
        ("completion_offsets", np.array([0, 2, 1, 3], dtype=np.int64)),
        ("completion_offsets", np.array([], dtype=np.int64)),
        ("logprobs", np.zeros(2, dtype=np.float32)),
        ("sampled", np.ones(2, dtype=bool)),
        ("sampled", np.ones(4, dtype=np.uint8)),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_a_data_error(tmp_path, name, value):
    path = tmp_path / "r.safetensors"
    tensors.write(path, rows_of([([1, 2], [3, 4, 5])]))
    save_file({**load_file(path), name: value}, path)
    with pytest.raises(DataError):
        tensors.read(path)


def test_a_missing_file_says_where_it_should_be(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        tensors.read(tmp_path / "none.safetensors")
