"""`eat manifest events`: tables of events become clips, or recordings with events."""

import re

import numpy as np
import pytest
from helpers import REPOSITORY

from eat.audio import audio_info, read_audio
from eat.commands.main import main
from eat.data import annotations
from eat.data.annotations import EventConfig
from eat.data.checking import check_manifest
from eat.data.events import read_events
from eat.data.labels import read_descriptors
from eat.data.manifest import Manifest
from eat.data.packing import pack_manifest
from eat.data.split import open_split
from eat.evaluation.folds import find_groups, read_clips


@pytest.fixture
def write_table(tmp_path):
    """Writes a table to the folder `tables`."""

    def write_table(name, text):
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / "tables" / name).write_text(text)
        return tmp_path / "tables" / name

    return write_table


@pytest.fixture
def list_events(list_clips, audio, tmp_path):
    """Runs `eat manifest events` on all tables."""
    return lambda *options: list_clips("events", tmp_path / "tables", "--audio", audio, *options)


@pytest.fixture
def events_of(out):
    """The events of each clip of a split, with the names of their classes."""

    def events_of(name):
        manifest = Manifest(out / f"{name}.tsv")
        classes = read_descriptors(out / "label_descriptors.csv")
        table = read_events(out / f"{name}.events.tsv", manifest, classes)
        return {
            path: [(on, off, classes[label].name) for on, off, label in table.events(clip)]
            for clip, path in enumerate(manifest.relative_paths())
        }

    return events_of


@pytest.fixture
def left_out(out):
    """What was left out, with the reasons."""

    def left_out(name="unreadable.tsv"):
        return [tuple(line.split("\t")) for line in (out / name).read_text().splitlines()]

    return left_out


@pytest.fixture
def dawn(write_sound, write_table):
    """Two recordings of 5 s with events that overlap, touch, and end after the recording."""
    write_sound("day 1/dawn.wav", 5 * 22_050, 22_050)
    write_sound("dusk.flac", 5 * 16_000)
    write_sound("unused.wav", 16_000)
    write_table(
        "dawn.Table.1.selections.txt",
        "Selection\tView\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
        "1\tWaveform 1\t1.25\t2.5\twren\n1\tSpectrogram 1\t1.25\t2.5\twren\n"
        "2\tSpectrogram 1\t2.0\t6.5\trobin\n",
    )
    write_table("dusk.txt", "0.5\t1.5\twren\n1.5\t2.0\twren\n0.5\t1.5\trobin\n")


def test_parts_as_clips(dawn, list_events, clips_of, labels_of, audio, out, capsys):
    assert list_events("--valid-fraction", "0") == 0
    assert clips_of("train") == {
        "day 1/dawn.wav/1.25-2.5": round(2.5 * 22_050) - round(1.25 * 22_050),
        "day 1/dawn.wav/2.0-5.0": 3 * 22_050,
        "dusk.flac/0.5-1.5": 16_000,
        "dusk.flac/1.5-2.0": 8_000,
    }
    assert labels_of("train") == {
        "day 1/dawn.wav/1.25-2.5": ["wren"],
        "day 1/dawn.wav/2.0-5.0": ["robin"],
        "dusk.flac/0.5-1.5": ["robin", "wren"],
        "dusk.flac/1.5-2.0": ["wren"],
    }
    manifest = Manifest(out / "train.tsv")
    for clip, num_samples in enumerate(manifest.num_samples):
        assert audio_info(manifest.path(clip)).num_samples == num_samples
    whole = read_audio(audio / "dusk.flac")
    assert np.array_equal(read_audio(manifest.path(3)), whole[24_000:32_000])
    printed = capsys.readouterr().out
    assert "2 of 3 recordings are in the tables; others are not listed" in printed
    assert "1 events end after their recordings and are cut there; the one that ends latest," in (
        printed
    )
    assert "by 1.5 s, is in " in printed and "dawn.Table.1.selections.txt:4" in printed
    assert "clips per class: wren (3), robin (2)" in printed
    # The recording is what belongs together.
    groups = find_groups("parent", read_clips(str(out)))
    assert groups == ["day 1/dawn.wav"] * 2 + ["dusk.flac"] * 2


def test_recordings_keep_their_events(dawn, write_sound, write_table, list_events, events_of, out):
    write_sound("silent.wav", 16_000)
    write_table("silent.txt", "")
    assert list_events("--as", "time", "--valid-fraction", "0") == 0
    assert events_of("train") == {
        "day 1/dawn.wav": [(1.25, 2.5, "wren"), (2.0, 5.0, "robin")],
        "dusk.flac": [(0.5, 1.5, "robin"), (0.5, 1.5, "wren"), (1.5, 2.0, "wren")],
        "silent.wav": [],
    }
    assert sorted(path.name for path in out.iterdir()) == [
        *("label_descriptors.csv", "train.events.tsv", "train.tsv"),
    ]


def test_parts_of_recordings_with_their_events(dawn, list_events, write_table, events_of, clips_of):
    def cut(seconds, *options):
        assert list_events("--as", "time", "--force", "--cut-seconds", seconds, *options) == 0

    cut("2", "--valid-fraction", "0")
    assert events_of("train") == {
        "day 1/dawn.wav/0.0-2.0": [(1.25, 2.0, "wren")],
        "day 1/dawn.wav/2.0-4.0": [(0.0, 0.5, "wren"), (0.0, 2.0, "robin")],
        "day 1/dawn.wav/4.0-5.0": [(0.0, 1.0, "robin")],
        "dusk.flac/0.0-2.0": [(0.5, 1.5, "robin"), (0.5, 1.5, "wren"), (1.5, 2.0, "wren")],
        "dusk.flac/2.0-4.0": [],
        "dusk.flac/4.0-5.0": [],
    }
    assert sum(clips_of("train").values()) == 5 * 22_050 + 5 * 16_000
    # A rest that is too short for a clip stays with the part before; evaluation is of all of it.
    cut("2.49", "--split", "valid")
    assert list(clips_of("valid"))[1] == "day 1/dawn.wav/2.49-5.0"
    write_table("dusk.txt", "4.985\t4.995\twren\n")
    cut("2.49", "--split", "valid")
    assert events_of("valid")["dusk.flac/2.49-5.0"] == [(2.495, 2.505, "wren")]
    cut("2", "--split", "test")
    cut("5", "--split", "train")
    assert list(clips_of("test")) == list(clips_of("train")) == ["day 1/dawn.wav", "dusk.flac"]


@pytest.mark.parametrize("how", [["--as", "clips"], ["--as", "time", "--cut-seconds", "0.5"]])
def test_splits_are_drawn_by_recording(write_sound, write_table, list_events, clips_of, how):
    for index in range(12):
        write_sound(f"{index}.wav", 16_000)
        write_table(f"{index}.txt", f"0\t.5\t{'ab'[index % 2]}\n.5\t1\tc\n")

    def split(seed):
        shares = "--valid-fraction", "0.25", "--eval-fraction", "0.25"
        assert list_events(*how, *shares, "--seed", seed, "--force") == 0
        return [
            {path.split("/")[0] for path in clips_of(name)} for name in ("train", "valid", "eval")
        ]

    parts = split("1")
    assert [len(part) for part in parts] == [6, 3, 3]
    assert len(set.union(*parts)) == 12
    assert split("1") == parts
    assert split("2") != parts


def test_splits_from_a_column_and_from_folders(write_sound, write_table, list_events, labels_of):
    for path in ("train/a.wav", "test/b.wav"):
        write_sound(path, 16_000)
    write_table("t.csv", "file,start,end,label,fold\na,0,1,x,one\na,0,.5,x,one\nb,0,1,y,two\n")
    assert list_events("--splits-from", "column:fold") == 0
    assert labels_of("one") == {"train/a.wav/0.0-1.0": ["x"], "train/a.wav/0.0-0.5": ["x"]}
    assert labels_of("two") == {"test/b.wav/0.0-1.0": ["y"]}
    assert list_events("--splits-from", "top") == 0
    assert labels_of("test") == {"test/b.wav/0.0-1.0": ["y"]}
    table = write_table("t.csv", "file,start,end,label,fold\na,0,1,x,one\na,0,.5,x,two\n")
    where = [str(table)], str(write_sound("c.wav").parent), "nowhere"
    with pytest.raises(ValueError, match=r"t.csv:3: found the split 'two' of 'a', expected 'one'"):
        annotations.list_events(*where, EventConfig(splits_from="column:fold"))


def test_what_cannot_be_used_is_left_out_by_table_and_line(
    dawn, write_table, write_sound, list_events, labels_of, left_out, tmp_path
):
    write_table("gone.txt", "0\t1\twren\n0\t2\twren\n")
    write_sound("bad.wav").write_text("no audio")
    write_table("bad.txt", "0\t1\twren\n")
    write_table(
        "t.csv",
        "file,start,end,label\ndusk,1,1,wren\ndusk,2,1,wren\ndusk,5,6,wren\ndusk,-1,1,wren\n"
        "dusk,1,1.02,wren\ndusk,1,2,\nnoon.wav,1,2,wren\nDUSK,1,2,wren\ndusk,4.9,5.2,wren\n",
    )
    assert list_events("--valid-fraction", "0") == 1
    assert list(labels_of("train"))[-1] == "dusk.flac/4.9-5.0"
    found = {path: reason for path, reason in left_out() if path != "dusk.flac"}
    assert found.pop("bad.wav").startswith("not readable as audio")
    table = tmp_path / "tables/t.csv"
    assert [reason for path, reason in left_out() if path == "dusk.flac"] == [
        f"found an event from 1 to 1 s, expected one that ends after its start ({table}:2)",
        f"found an event from 2 to 1 s, expected one that ends after its start ({table}:3)",
        f"found an event from 5 to 6 s, expected one that begins inside the 5 s ({table}:4)",
        f"found an event from -1 to 1 s, expected one that begins inside the 5 s ({table}:5)",
        f"found an event from 1 to 1.02 s, expected one that has at least 0.025 s ({table}:6)",
        f"an event without a label ({table}:7)",
    ]
    assert found.pop("noon.wav").endswith("tables/t.csv:8)")
    assert found.pop("DUSK").endswith("t.csv:9); there is 'dusk.flac'")
    [(path, reason)] = found.items()
    assert path.endswith("tables/gone.txt")
    assert reason == "no recording is called so, and no column names any (--clip-column)"


def test_slowed_down_parts_may_be_shorter(write_sound, write_table, list_events, clips_of):
    write_sound("bat.wav", 25_000, 250_000)
    write_table("bat.txt", "0.01\t0.0126\tpip\n0.02\t0.0224\tpip\n")
    assert list_events("--speed", "0.1", "--valid-fraction", "0") == 1
    assert clips_of("train") == {"bat.wav/0.01-0.0126": 650}


def test_audioset_strong(write_sound, write_table, list_events, tmp_path, labels_of, out, left_out):
    for name in ("Yb0RFKhbpFJA_30.000.wav", "s9d-2nhuJCQ.wav", "abcdefghij__10000.wav"):
        write_sound(name, 160_000)
    write_table(
        "audioset_strong_eval.tsv",
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        "b0RFKhbpFJA_30000\t0.0\t10.0\t/m/03m9d0z\nb0RFKhbpFJA_30000\t0.6\t3.1\t/m/05zppz\n"
        "s9d-2nhuJCQ_30000\t1.0\t2.0\t/m/05zppz\nabcdefghij__10000\t1.0\t2.0\t/m/05zppz\n"
        "missing_one_0\t1.0\t2.0\t/m/05zppz\n",
    )
    names = tmp_path / "mid_to_display_name.tsv"
    names.write_text("/m/05zppz\tMale speech, man speaking\n/m/x\tX\n/m/03m9d0z\tWind\n")
    assert list_events("--descriptors", names, "--split", "eval") == 1
    assert labels_of("eval") == {
        "Yb0RFKhbpFJA_30.000.wav/0.0-10.0": ["Wind"],
        "Yb0RFKhbpFJA_30.000.wav/0.6-3.1": ["Male speech, man speaking"],
        "abcdefghij__10000.wav/1.0-2.0": ["Male speech, man speaking"],
        "s9d-2nhuJCQ.wav/1.0-2.0": ["Male speech, man speaking"],
    }
    classes = read_descriptors(out / "label_descriptors.csv")
    assert [label.id for label in classes] == ["/m/05zppz", "/m/x", "/m/03m9d0z"]
    [(path, reason)] = left_out("eval.unreadable.tsv")
    assert path == "missing_one_0" and reason.startswith("no such audio file (")


def test_classes_of_another_split_count(dawn, write_table, list_events, labels_of, tmp_path):
    assert list_events("--split", "train") == 0
    (tmp_path / "tables/dusk.txt").write_text("0\t1\towl\n")
    with pytest.raises(ValueError, match="dusk.txt:1: found the label 'owl', expected one of "):
        annotations.list_events(
            [str(tmp_path / "tables")],
            str(tmp_path / "audio"),
            str(tmp_path / "out"),
            EventConfig(split="eval"),
        )


def test_nothing_is_replaced(dawn, list_events, labels_of, out, capsys):
    out.mkdir()
    (out / "valid.events.tsv").write_text("kept")
    assert list_events() == 1
    assert "valid.events.tsv: exists already (--force replaces it)" in capsys.readouterr().err
    assert list_events("--force", "--valid-fraction", "0") == 0
    assert not (out / "valid.events.tsv").exists()


@pytest.mark.parametrize(
    "config, message",
    [
        ({"listed_as": "parts"}, "--as: found 'parts', expected clips or time"),
        ({"valid_fraction": -0.5}, "found -0.5 and 0, expected 0 or more, and less than 1 toge"),
        ({"eval_fraction": float("nan")}, "--valid-fraction and --eval-fraction: found 0.05 and n"),
        ({"cut_seconds": 5.0}, "--cut-seconds: found --as clips, expected --as time"),
        ({"split": "eval", "valid_fraction": 0.1}, "--split: found a share for another split too"),
        ({"encoding": "utf-9"}, "found 'utf-9', expected an encoding such as latin-1"),
        ({"splits_from": "parent"}, "found 'parent', expected top or column:NAME"),
    ],
)
def test_settings_that_do_not_fit(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        annotations.list_events(["t"], "a", "o", EventConfig(**config))


def test_checking_and_packing_keep_events(dawn, list_events, out, tmp_path):
    assert list_events("--as", "time", "--valid-fraction", "0") == 0
    lines = (out / "train.tsv").read_text().replace("80000", "80001")
    (out / "train.tsv").write_text(lines)
    checked = check_manifest(str(out / "train.tsv"), str(tmp_path / "clean"))
    assert [finding.action for finding in checked.problems] == ["corrected"]
    events = (out / "train.events.tsv").read_bytes()
    assert (tmp_path / "clean/train.events.tsv").read_bytes() == events
    assert pack_manifest(checked.manifest, str(tmp_path / "packs")).left_out == []
    split = open_split(str(tmp_path / "packs"), "train", labelled=False)
    assert split.labels is None
    assert split.events.counts.tolist() == [2, 3]
    assert split.clip(0).events == ((1.25, 2.5, "wren"), (2.0, 5.0, "robin"))


def test_parts_are_checked_and_not_packed(dawn, list_events, out, tmp_path):
    assert list_events("--valid-fraction", "0") == 0
    manifest = out / "train.tsv"
    text = manifest.read_text()
    manifest.write_text(text.replace("dusk.flac/0.5-1.5\t16000", "dusk.flac/0.5-1.5\t16001"))
    found = check_manifest(str(manifest), str(tmp_path / "clean")).problems
    assert [finding.action for finding in found] == ["corrected"]
    assert (tmp_path / "clean/train.tsv").read_text() == text
    with pytest.raises(ValueError, match="found a part of a file, expected a whole one: pack the"):
        pack_manifest(str(manifest), str(tmp_path / "packs"))


def test_clips_of_tables_are_measured_and_probed(
    write_sound, write_table, list_events, out, tmp_path, capsys
):
    for index in range(6):
        write_sound(f"{index}.wav", 2 * 16_000)
        write_table(f"{index}.txt", "0\t.5\ta\n.5\t1\tb\n1.25\t2\ta\n1.5\t1.8\tb\n")
    assert list_events("--valid-fraction", "0") == 0
    checkpoint = str(REPOSITORY / "tests/golden/official_pretrain.pt")
    assert main(["stats", str(out / "train.tsv")]) == 0
    assert "task.target_length" in capsys.readouterr().out
    features = tmp_path / "features"
    extract = ["extract", str(out / "train.tsv"), "--checkpoint", checkpoint]
    assert main([*extract, "--out", str(features), "--granularity", "utterance"]) == 0
    names = sorted(str(path.relative_to(features)) for path in features.rglob("*.npy"))
    assert len(names) == 24
    assert names[:2] == ["0/0.0-0.5.npy", "0/0.5-1.0.npy"]
