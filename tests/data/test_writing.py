import os
import re

import pytest
from helpers import locked_elsewhere, write_clips, write_tsv

from eat.data.annotations import FolderConfig, list_folder
from eat.data.checking import check_manifest
from eat.data.labels import Label, LabelError
from eat.data.manifest import ManifestError
from eat.data.packing import pack_manifest
from eat.data.split import Clip
from eat.data.writing import write_data_set
from eat.files import InUseError
from eat.work import Failure

CLASSES = [Label(0, "owl", "Owl")]
GOOD = Clip("a.wav", 5, labels=("owl",))


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (Clip("b\n.wav", 5, labels=("owl",)), ManifestError, "valid.tsv: found a line break"),
        (Clip("b.wav", -1, labels=("owl",)), ManifestError, "valid.tsv: found '-1' after the"),
        (Clip("b.wav", 5), LabelError, "valid.lbl: found no label of 'b.wav'"),
    ],
)
def test_a_data_set_is_written_whole_or_not_at_all(tmp_path, bad, error, message):
    out = str(tmp_path / "out")
    write_data_set(out, "/data", {"train": [GOOD], "valid": [GOOD]}, CLASSES)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(error, match=re.escape(f"{out}/{message}")):
        write_data_set(out, "/new", {"train": [GOOD], "valid": [bad]}, CLASSES, force=True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_name_with_a_line_break_is_one_line_of_a_message(tmp_path):
    left_out = [Failure("a\nb.wav", "cut\noff")]
    with pytest.raises(ValueError, match=re.escape("unreadable.tsv, first a\\nb.wav: cut off")):
        write_data_set(str(tmp_path), "/data", {"train": []}, None, left_out, "unreadable.tsv")
    assert (tmp_path / "unreadable.tsv").read_text() == "a\\nb.wav\tcut off\n"


def test_what_a_killed_run_left_is_removed(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    out = str(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("eat.data.writing.write_labels", interrupt)
        patch.setattr("eat.data.writing.shutil.rmtree", lambda *args, **options: None)
        write_data_set(out, "/data", {"train": [GOOD]}, CLASSES)
    assert os.listdir(out) == [".train.unfinished"]
    write_data_set(out, "/data", {"train": [GOOD]}, CLASSES)
    assert sorted(os.listdir(out)) == ["label_descriptors.csv", "train.lbl", "train.tsv"]


def test_what_a_call_lists(tmp_path):
    [(name, num_samples), *_] = write_clips(tmp_path / "audio" / "owl", 1)
    (tmp_path / "audio" / "owl" / "bad.wav").write_text("hello")
    (tmp_path / "audio" / "notes.txt").touch()
    out = str(tmp_path / "out")
    config = FolderConfig(labels_from="parent", valid_fraction=0)
    listing = list_folder(str(tmp_path / "audio"), out, config)
    assert listing.splits["train"] == [Clip(f"owl/{name}", num_samples, 16_000, 1, ("owl",))]
    assert listing.descriptors == [Label(0, "owl", "owl")]
    reason = "not readable as audio: Format not recognised."
    assert listing.left_out == [Failure("owl/bad.wav", reason)]
    assert listing.left_out_file == f"{out}/unreadable.tsv"
    assert listing.warnings == ["not looked at: 1 other files: 1 .txt"]
    assert sorted(os.listdir(out)) == [
        *("label_descriptors.csv", "train.lbl", "train.tsv", "unreadable.tsv")
    ]


@pytest.mark.parametrize(
    ("lock", "work"),
    [
        ("train.check.tsv.lock", check_manifest),
        ("train.pack.lock", pack_manifest),
        (".train.unfinished.lock", check_manifest),
    ],
)
def test_two_processes_do_not_write_the_same(tmp_path, lock, work):
    write_tsv(tmp_path / "train.tsv", tmp_path, write_clips(tmp_path, 2))
    out = tmp_path / "out"
    out.mkdir()
    words = re.escape(f"{out / lock}: in use by process ")
    with locked_elsewhere(out / lock) as owner:
        with pytest.raises(InUseError, match=f"{words}{owner.pid} on "):
            work(str(tmp_path / "train.tsv"), str(out))
        assert not (out / "train.tsv").exists()
    work(str(tmp_path / "train.tsv"), str(out))
    assert (out / "train.tsv").exists()
    assert [path.name for path in out.iterdir() if path.name.endswith(".lock")] == []
