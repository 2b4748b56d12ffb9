import os
import shutil
from functools import partial

import pytest

from eat.data.labels import read_descriptors

CATEGORIES = {0: "dog", 1: "rooster", 2: "chirping_birds"}


@pytest.fixture
def esc50(write_sound, audio):
    """Two clips of each of three classes in each fold, laid out as published."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(5, 0, -1):
        for target in (2, 0, 1):
            for take in "AB":
                name = f"{fold}-{1000 + target}-{take}-{target}.wav"
                rate_hz = 48000 if take == "B" else 44100
                write_sound(f"audio/{name}", rate_hz // 100, rate_hz)
                rows.append(f"{name},{fold},{target},{CATEGORIES[target]},False,{1000},{take}")
    (audio / "meta").mkdir()
    (audio / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return audio


@pytest.fixture
def list_esc50(list_clips, audio):
    return partial(list_clips, "esc50", audio)


def test_each_fold_is_a_data_set(esc50, list_esc50, labels_of, capsys, out):
    assert list_esc50() == 0
    assert sorted(os.listdir(out)) == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    in_valid = []
    for fold in range(1, 6):
        folder = out / f"fold{fold}"
        assert sorted(os.listdir(folder)) == [
            *("label_descriptors.csv", "train.lbl", "train.tsv", "valid.lbl", "valid.tsv")
        ]
        train, valid = labels_of("train", folder), labels_of("valid", folder)
        assert {name.split("-")[0] for name in valid} == {str(fold)}
        assert {name.split("-")[0] for name in train} == set("12345") - {str(fold)}
        for name, labels in {**train, **valid}.items():
            assert labels == [CATEGORIES[int(name[:-4].split("-")[-1])]]
        in_valid += valid
        classes = read_descriptors(folder / "label_descriptors.csv")
        assert {label.index: label.name for label in classes} == CATEGORIES
    assert len(in_valid) == len(set(in_valid)) == 30
    output, error = capsys.readouterr()
    assert f"{out}/fold1/train.tsv: 24 clips, 0.00 hours\n" in output
    assert "  3 classes with 8 to 8 clips, 1 classes per clip\n" in output
    assert "sample rates: 44100 Hz (15 clips), 48000 Hz (15 clips)\n" in output
    assert output.endswith(f"next: eat stats {out}/fold1/train.tsv\n")
    assert error == (
        "warning: clips / classes / folds: found 30 / 3 / 5, published are 2,000 / 50 / 5\n"
    )


def test_clips_that_are_missing_or_broken_are_listed(esc50, list_esc50, labels_of, out):
    (esc50 / "audio" / "1-1000-A-0.wav").unlink()
    (esc50 / "audio" / "2-1001-B-1.wav").write_text("hello")
    assert list_esc50() == 1
    lines = (out / "unreadable.tsv").read_text().splitlines()
    reasons = dict(line.split("\t") for line in lines)
    assert reasons.pop("1-1000-A-0.wav") == "no such file"
    assert reasons.pop("2-1001-B-1.wav").startswith("not readable as audio")
    assert not reasons
    assert len(labels_of("valid", "fold1")) == 5
    assert len(labels_of("train", "fold1")) == 23


def test_existing_folds_are_kept_unless_forced(esc50, list_esc50, capsys, out):
    assert list_esc50() == 0
    shutil.rmtree(out / "fold1")
    assert list_esc50() == 1
    assert f"error: {out}/fold2/train.tsv: exists already" in capsys.readouterr().err
    assert not (out / "fold1").exists()
    assert list_esc50("--force") == 0


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("filename,", "name,", "esc50.csv:1: found the columns 'name', 'fold', 'target',"),
        (",2,chirping_birds,", ",2,,", "esc50.csv:2: expected a number as target and a name as"),
        (",2,chirping_birds,", ",x,chirping_birds,", "esc50.csv:2: expected a number as target"),
        ("B-2.wav,5,2", "B-2.wav,,2", "esc50.csv:3: found an empty 'fold', expected one"),
        (
            "5-1002-B-2.wav,5,2,chirping_birds",
            "5-1002-B-2.wav,5,2,owl",
            "esc50.csv:3: found target 2 of 'owl', expected 'chirping_birds' as in a line before",
        ),
        (",2,chirping_birds", ",7,chirping_birds", "found the index '7', expected 2"),
    ],
)
def test_a_bad_table_is_named(esc50, list_esc50, capsys, old, new, message):
    table = esc50 / "meta" / "esc50.csv"
    text = table.read_text()
    table.write_text(text.replace(old, new).replace("B-2.wav,5,2,chirp", new + ",chirp"))
    assert list_esc50() == 1
    assert message in capsys.readouterr().err


def test_another_folder(list_esc50, capsys, audio):
    assert list_esc50() == 1
    error = f"error: {audio}/meta/esc50.csv: no such file, expected ESC-50 as it was publ"
    assert error in capsys.readouterr().err
