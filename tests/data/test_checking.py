import os
from itertools import islice
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from faults.damage import WAYS, write_collection
from helpers import write_tsv

from eat.commands.main import main
from eat.data import checking
from eat.data.checking import Finding, check_clip, check_manifest, read_journal
from eat.data.manifest import Manifest
from eat.data.split import open_split
from eat.work import map_in_threads


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A folder with 40 clips, each way of damage in one of them, and labels."""
    folder = tmp_path_factory.mktemp("collection")
    entries, damaged = write_collection(folder / "audio", 40, damaged_ratio=12 / 40)
    assert sorted(damaged.values()) == sorted(WAYS)
    write_tsv(folder / "train.tsv", folder / "audio", entries)
    (folder / "label_descriptors.csv").write_text('0,n,"noise"\n1,o,"odd"\n')
    labels = [f"{name}\t{'n,o' if n % 2 else 'n'}" for n, (name, _) in enumerate(entries)]
    (folder / "train.lbl").write_text("\n".join(labels) + "\n")
    return folder, entries, damaged


def run(manifest, out, *arguments):
    return main(["manifest", "check", str(manifest), "--out", str(out), *arguments])


def report_of(folder, name="train"):
    lines = (folder / f"{name}.check.tsv").read_text().splitlines()
    return [tuple(line.split("\t")) for line in lines]


def test_damaged_clips_are_named_once_and_nothing_else_is_lost(collection, tmp_path, capsys):
    folder, entries, damaged = collection
    assert run(folder / "train.tsv", tmp_path) == 1
    report = report_of(tmp_path)
    assert [path for _, _, path, _ in report] == [name for name, _ in entries if name in damaged]
    assert {action for _, action, _, _ in report} == {"left out"}
    for line, _, path, problem in report:
        assert entries[int(line) - 2][0] == path
        assert problem
    clean = Manifest(tmp_path / "train.tsv")
    assert clean.root == str(folder / "audio")
    kept = [entry for entry in entries if entry[0] not in damaged]
    assert [(clean.relative_path(i), clean.clip_samples(i)) for i in range(len(clean))] == kept
    split = open_split(str(tmp_path), "train")
    numbers = [n for n, (name, _) in enumerate(entries) if name not in damaged]
    assert [len(split.clip(i).labels) for i in range(len(clean))] == [1 + n % 2 for n in numbers]
    assert sorted(os.listdir(tmp_path)) == [
        *("label_descriptors.csv", "train.check.tsv", "train.lbl", "train.tsv")
    ]
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path}/train.tsv: 28 clips\n"
    assert printed.err.splitlines()[-2:] == ["12 left out", f"listed in {tmp_path}/train.check.tsv"]


def test_a_clean_manifest_stays_what_it_is(collection, tmp_path):
    folder, entries, damaged = collection
    entries = [entry for entry in entries if entry[0] not in damaged]
    write_tsv(tmp_path / "valid.tsv", folder / "audio", entries)
    assert run(tmp_path / "valid.tsv", tmp_path / "clean") == 0
    assert (tmp_path / "clean" / "valid.tsv").read_text() == (tmp_path / "valid.tsv").read_text()
    assert report_of(tmp_path / "clean", "valid") == []
    assert sorted(os.listdir(tmp_path / "clean")) == ["valid.check.tsv", "valid.tsv"]


def test_what_is_corrected_and_what_is_kept(tmp_path, capsys):
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write(tmp_path / "longer.wav", noise, 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    soundfile.write(tmp_path / "fast.flac", np.stack([noise] * 8, axis=1), 192_000)
    soundfile.write(tmp_path / "slow.wav", noise, 4_000)
    entries = [
        *(("longer.wav", 4000), ("silent.wav", 9000), ("./longer.wav", 8000)),
        *(("fast.flac", 8000), ("slow.wav", 8000), ("silent.wav", 8000)),
    ]
    write_tsv(tmp_path / "train.tsv", ".", entries)
    assert run(tmp_path / "train.tsv", tmp_path / "clean") == 1
    silent = "silent: all samples have the same value"
    wrong = "another number of samples than the manifest says: found 8000, expected"
    assert report_of(tmp_path / "clean") == [
        ("2", "corrected", "longer.wav", f"{wrong} 4000"),
        ("3", "corrected", "silent.wav", f"{wrong} 9000; {silent}"),
        ("4", "left out", "./longer.wav", "listed in line 2 before"),
        ("7", "left out", "silent.wav", "listed in line 3 before"),
    ]
    clean = Manifest(tmp_path / "clean" / "train.tsv")
    assert list(clean.relative_paths()) == ["longer.wav", "silent.wav", "fast.flac", "slow.wav"]
    assert clean.num_samples.tolist() == [8000] * 4
    assert capsys.readouterr().err.splitlines()[-4:-1] == [
        *("2 left out", "1 kept: silent"),
        "2 corrected: another number of samples than the manifest says",
    ]


@pytest.mark.parametrize(
    "options, used_seconds", [((), 10.255), (("--target-length", "128"), 1.295)]
)
def test_odd_clips_are_counted_by_kind(tmp_path, capsys, options, used_seconds):
    noise = 0.1 * np.random.default_rng(0).standard_normal(4000)
    late = np.concatenate([np.zeros(round(16_000 * used_seconds)), noise])
    sounds = {
        "late": late,
        "later": np.concatenate([np.zeros(1600), late]),
        "early": late[1:],
        "cancels": np.stack([noise, -noise], axis=1),
        "loud": noise * 1e6,
        "louder": noise * 1e7,
        "silent": np.zeros(8000),
    }
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000, subtype="FLOAT")
    entries = [(f"{name}.wav", len(samples)) for name, samples in sounds.items()]
    write_tsv(tmp_path / "train.tsv", ".", entries)
    assert run(tmp_path / "train.tsv", tmp_path / "clean", *options) == 0
    seconds = f"{used_seconds:.2f}"
    part = f"the part that is used, the first {seconds} s, is silent; the rest is not"
    assert capsys.readouterr().err.splitlines()[-5:-1] == [
        f"2 kept: {part}",
        *("1 kept: the channels cancel", "1 kept: silent", "2 kept: far above full scale"),
    ]
    report = report_of(tmp_path / "clean")
    assert [(path, problem) for _, _, path, problem in report[:2]] == [
        *(("late.wav", part), ("later.wav", part))
    ]


def test_an_interrupted_check_continues(collection, tmp_path, monkeypatch, capsys):
    folder, entries, damaged = collection

    def interrupt(*args, **kwargs):
        yield from islice(map_in_threads(*args, **kwargs), 15)
        raise KeyboardInterrupt

    monkeypatch.setattr(checking, "map_in_threads", interrupt)
    assert run(folder / "train.tsv", tmp_path) == 130
    monkeypatch.setattr(checking, "map_in_threads", map_in_threads)
    partial = tmp_path / "train.check.tsv.partial"
    lines = partial.read_text().splitlines()
    assert len(lines) == 1 + 15
    with partial.open("a") as file:
        file.write("39\t64")  # cut off by a kill
    again = []
    monkeypatch.setattr(
        checking, "check_clip", lambda m, clip, **k: again.append(clip) or check_clip(m, clip, **k)
    )
    assert run(folder / "train.tsv", tmp_path) == 1
    assert "15 of 40 clips were checked by an earlier run" in capsys.readouterr().out
    checked = [int(line.split("\t")[0]) for line in lines[1:]]
    assert sorted([*checked, *again]) == list(range(40))
    assert [path for _, _, path, _ in report_of(tmp_path)] == [
        name for name, _ in entries if name in damaged
    ]
    assert not partial.exists()


@pytest.mark.parametrize(
    "first, second",
    [
        ({}, {"hdf5_rate_hz": 32_000}),  # without a rate no clip of a pack can be used
        ({"hop_ms": 5.0}, {"speed": 5.0}),
    ],
)
def test_what_is_known_by_other_settings_does_not_count(first, second, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.ones(8000) / 2, 16_000)
    write_tsv(tmp_path / "train.tsv", tmp_path, [("a.wav", 8000)])
    arguments = str(tmp_path / "train.tsv"), str(tmp_path / "clean")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(checking, "write_data_set", Mock(side_effect=OSError("full")))
        check_manifest(*arguments, **first)
    assert check_manifest(*arguments, **second).num_resumed == 0


def test_what_is_known_of_another_manifest_does_not_count(tmp_path):
    write_tsv(tmp_path / "train.tsv", tmp_path, [("a.wav", 5), ("b.wav", 6)])
    manifest, journal = Manifest(tmp_path / "train.tsv"), tmp_path / "journal"
    assert read_journal(str(journal), manifest, 64) == {}
    with journal.open("ab") as file:
        file.write(b"1\t7\tkept\tname \xff\todd\n")
    problems = (os.fsdecode(b"name \xff"), "odd")
    assert read_journal(str(journal), manifest, 64) == {1: Finding(1, 7, "kept", problems)}
    assert read_journal(str(journal), manifest, 128) == {}  # its used parts are others
    write_tsv(tmp_path / "train.tsv", tmp_path, [("a.wav", 5), ("c.wav", 6)])
    assert read_journal(str(journal), Manifest(tmp_path / "train.tsv"), 64) == {}


def test_nothing_can_be_used(tmp_path, capsys):
    write_tsv(tmp_path / "train.tsv", tmp_path, [("a.wav", 5)])
    assert run(tmp_path / "train.tsv", tmp_path / "clean") == 1
    assert "no clip can be used; the reasons are in" in capsys.readouterr().err
    assert report_of(tmp_path / "clean") == [
        ("2", "left out", "a.wav", f"no such audio file: {tmp_path}/a.wav")
    ]
    assert not (tmp_path / "clean" / "train.tsv").exists()
    soundfile.write(tmp_path / "a.wav", np.ones(800) / 2, 16_000)  # the disk is mounted now
    assert run(tmp_path / "train.tsv", tmp_path / "clean") == 0


def test_outputs_are_not_replaced_by_accident(collection, tmp_path, capsys):
    folder, _, _ = collection
    (tmp_path / "train.tsv").write_text("mine")
    assert run(folder / "train.tsv", tmp_path) == 1
    assert "train.tsv: exists already (--force replaces it)" in capsys.readouterr().err
    assert (tmp_path / "train.tsv").read_text() == "mine"
    assert run(folder / "train.tsv", tmp_path, "--force") == 1
    assert len(Manifest(tmp_path / "train.tsv")) == 28


def test_the_manifest_s_own_folder(collection, capsys):
    folder, _, _ = collection
    assert run(folder / "train.tsv", folder / "audio" / "..", "--force") == 1
    assert "--out: found the folder of" in capsys.readouterr().err


def test_a_folder_is_no_manifest(collection, tmp_path, capsys):
    folder, _, _ = collection
    assert run(folder / "audio", tmp_path) == 1
    error = f"{folder}/audio: expected the file of a manifest, NAME.tsv (`eat manifest folder DIR"
    assert error in capsys.readouterr().err


def test_labels_that_do_not_fit_are_an_error_before_the_work(collection, tmp_path, capsys):
    folder, entries, _ = collection
    write_tsv(tmp_path / "train.tsv", folder / "audio", entries[:3])
    (tmp_path / "label_descriptors.csv").write_text('0,n,"noise"\n')
    (tmp_path / "train.lbl").write_text(f"{entries[0][0]}\tn\n")
    assert run(tmp_path / "train.tsv", tmp_path / "clean") == 1
    assert "train.lbl:2: found the end of the file" in capsys.readouterr().err
    assert not (tmp_path / "clean").exists()
