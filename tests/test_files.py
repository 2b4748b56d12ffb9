import os

import pytest

from eat.files import find_unfinished, link_file, replace_file, sync_folder


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


def test_the_longest_name(tmp_path):
    with replace_file(tmp_path / ("é" * 127)) as file:
        file.write(b"all of it")
    assert os.listdir(tmp_path) == ["é" * 127]


def test_a_file_in_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "missing" / "report.tsv"):
        pass


def test_a_second_name_is_the_same_file(tmp_path):
    source, path = tmp_path / "step 5.pt", tmp_path / "last.pt"
    source.write_text("new")
    path.write_text("old")
    link_file(source, path)
    link_file(source, path)
    assert path.read_text() == "new"
    assert os.path.samefile(source, path)
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "step 5.pt"]
    sync_folder(tmp_path)


def test_a_second_name_without_hard_links_is_a_copy(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("no hard links")

    source, path = tmp_path / "step 5.pt", tmp_path / "last.pt"
    source.write_text("new")
    monkeypatch.setattr(os, "link", refuse)
    link_file(source, path)
    assert path.read_text() == "new"
    assert not os.path.samefile(source, path)
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "step 5.pt"]


def test_a_second_name_for_a_missing_file_keeps_the_old_one(tmp_path):
    path = tmp_path / "last.pt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        link_file(tmp_path / "gone.pt", path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["last.pt"]


def test_what_killed_processes_left_is_found(tmp_path):
    for name in (".a b.pt.123.tmp", "a.pt.tmp", ".a.pt.x.tmp", "a.pt"):
        (tmp_path / name).touch()
    found = list(find_unfinished(tmp_path))
    assert found == [(str(tmp_path / ".a b.pt.123.tmp"), str(tmp_path / "a b.pt"))]
    assert list(find_unfinished(tmp_path / "nowhere")) == []
