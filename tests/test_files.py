import os

import pytest

from eat.files import replace_file


def test_a_file_is_replaced_only_when_complete(tmp_path):
    path = tmp_path / "report.tsv"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), replace_file(path) as file:
        file.write(b"half")
        assert path.read_text() == "before"
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    with replace_file(path) as file:
        file.write(b"after")
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["report.tsv"]


def test_a_file_in_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "missing" / "report.tsv"):
        pass
