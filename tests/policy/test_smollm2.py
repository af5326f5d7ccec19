import zipfile

import pytest

from fst_cli.data.errors import DataError
from fst_cli.policy import smollm2


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Where the air-gapped user's wheel would be; nothing else is there, and no cache."""
    path = tmp_path / "model.whl"
    monkeypatch.setenv("FST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(smollm2.WHEEL_VARIABLE, str(path))
    return path


def nothing_was_left(tmp_path):
    return not list((tmp_path / "cache").rglob("*")) or not (tmp_path / "cache/models/smollm2-135m").exists()


def test_a_wheel_that_is_not_there_is_a_data_error(wheel, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        smollm2.folder()
    assert nothing_was_left(tmp_path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"nonsense"), "is not the wheel"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "is not the wheel"),
        (lambda path: zip_of(path, b"another model"), "pinned sha256"),
    ],
)
def test_another_file_is_never_taken_for_the_model(wheel, tmp_path, make, said):
    make(wheel)
    with pytest.raises(DataError, match=said):
        smollm2.folder()
    assert nothing_was_left(tmp_path)


def zip_of(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(smollm2.GGUF, content)
