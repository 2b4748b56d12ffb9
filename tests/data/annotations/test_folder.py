import os
import re
import shutil
from collections import Counter

import pytest
from helpers import REPOSITORY

from eat.audio.finding import find_audio
from eat.data import annotations
from eat.data.annotations import FolderConfig
from eat.data.labels import LabelError
from eat.data.manifest import Manifest


def test_all_formats_in_all_folders_are_listed(
    write_sound, list_folder, capsys, clips_of, audio, out
):
    write_sound("b.wav", 800, 8000)
    write_sound("a/deep er/é\t夜.flac", 4410, 44100, num_channels=2)
    write_sound("A.WAV", 500)
    write_sound("c.ogg", 1600)
    write_sound("d.mp3", 2304)
    write_sound(".hidden.aiff", 7)
    (audio / "notes.txt").write_text("")
    (audio / "README").write_text("")

    assert list_folder("--valid-fraction", "0") == 0
    assert clips_of("train") == {
        ".hidden.aiff": 7,
        "A.WAV": 500,
        "a/deep er/é\t夜.flac": 4410,  # per channel, at the file's own rate
        "b.wav": 800,
        "c.ogg": 1600,
        "d.mp3": 2304,
    }
    assert Manifest(out / "train.tsv").root == str(audio)
    assert os.listdir(out) == ["train.tsv"]
    printed, err = capsys.readouterr()
    assert "train.tsv: 6 clips, 0.00 hours" in printed
    assert "sample rates: 16000 Hz (4 clips), " in printed
    assert "44100 Hz (1 clips)" in printed
    assert "channels: 1 (5 clips), 2 (1 clips)" in printed
    assert "not looked at: 2 other files: 1 without extension, 1 .txt" in err


def test_validation_clips_are_drawn_by_the_seed(write_sound, list_folder, clips_of):
    for index in range(20):
        write_sound(f"{index}.wav", 100 + index)

    def split(*options):
        assert list_folder("--force", "--valid-fraction", "0.3", *options) == 0
        return [list(clips_of(name)) for name in ("train", "valid")]

    train, valid = split("--seed", "1")
    assert len(valid) == 6
    assert sorted(train + valid) == sorted(f"{index}.wav" for index in range(20))
    assert train == sorted(train)
    assert split("--seed", "1", "--workers", "1") == [train, valid]
    assert split("--seed", "2") != [train, valid]


def test_unreadable_files_are_left_out_and_listed(
    write_sound, list_folder, capsys, clips_of, audio, out
):
    write_sound("good.wav")
    write_sound("nothing.wav", 0)
    (audio / "text.wav").write_text("hello")
    (audio / "empty.flac").write_bytes(b"")
    (audio / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(audio / "pipe.wav")
    write_sound("ok.wav").rename(audio / "two\nlines.wav")

    assert list_folder("--valid-fraction", "0") == 1
    assert list(clips_of("train")) == ["good.wav"]
    lines = (out / "unreadable.tsv").read_text().splitlines()
    reasons = dict(line.split("\t") for line in lines)
    assert reasons.pop("empty.flac") == "found an empty file, expected an audio file"
    assert reasons.pop("text.wav").startswith("not readable as audio")
    assert reasons == {
        "gone.wav": "not a file, or a broken link",
        "nothing.wav": "no samples",
        "pipe.wav": "not a file, or a broken link",
        "two\\nlines.wav": "a line break in its name, which a manifest cannot hold",
    }
    error = capsys.readouterr().err
    assert f"left out 6 inputs, listed in {out}/unreadable.tsv; the first is" in error


def test_a_stream_of_unknown_length_is_counted(write_sound, list_folder, clips_of):
    write_sound("good.wav")
    path = write_sound("stream.flac")
    header = bytearray(path.read_bytes())
    header[21] &= 0xF0  # the 36 bits of the number of samples; 0 means unknown
    header[22:26] = bytes(4)
    path.write_bytes(header)

    assert list_folder("--valid-fraction", "0") == 0
    clips = clips_of("train")
    assert clips["stream.flac"] == clips["good.wav"]


def test_no_readable_file(list_folder, capsys, audio, out):
    (audio / "text.wav").write_text("hello")
    assert list_folder() == 1
    assert capsys.readouterr().err == (
        f"eat manifest: error: none of 1 clips is usable; the reasons are in {out}/unreadable.tsv,"
        " first text.wav: not readable as audio: Format not recognised.\n"
    )
    assert os.listdir(out) == ["unreadable.tsv"]


def test_no_audio_file(list_folder, capsys, audio, out):
    assert list_folder("--extensions", "wav", "flac") == 1
    (audio / "a.m4a").write_text("")
    assert list_folder("--extensions", ".wav", "flac") == 1
    start = f"eat manifest: error: {audio}: found no audio file"
    assert capsys.readouterr().err.splitlines() == [
        f"{start} (no file at all), expected names ending in .wav .flac",
        f"{start} (1 other files: 1 .m4a), expected names ending in .wav .flac",
    ]
    shutil.rmtree(audio)
    assert list_folder() == 1
    assert f"error: {audio}: no such folder" in capsys.readouterr().err
    audio.touch()
    assert list_folder() == 1
    assert f"error: {audio}: found a file, expected a folder" in capsys.readouterr().err
    assert not out.exists()


def test_existing_manifests_are_kept_unless_forced(
    write_sound, list_folder, capsys, clips_of, audio, out
):
    (audio / "bad.wav").write_text("hello")
    write_sound("a.wav")
    write_sound("b.wav")
    assert list_folder() == 1
    assert sorted(os.listdir(out)) == ["train.tsv", "unreadable.tsv", "valid.tsv"]

    before = (out / "train.tsv").read_bytes()
    capsys.readouterr()
    assert list_folder() == 1
    assert capsys.readouterr().err == (
        f"eat manifest: error: {out}/train.tsv: exists already (--force replaces it)\n"
    )
    assert (out / "train.tsv").read_bytes() == before

    # Nothing of the earlier run may stay: its valid.tsv shares clips with the new train.tsv.
    (audio / "bad.wav").unlink()
    assert list_folder("--force", "--valid-fraction", "0") == 0
    assert os.listdir(out) == ["train.tsv"]
    assert list(clips_of("train")) == ["a.wav", "b.wav"]


def test_links_are_followed_but_no_folder_is_listed_twice(
    write_sound, list_folder, tmp_path, capsys, audio
):
    write_sound("music/a.wav")
    write_sound("speech/b.wav")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_sound("c.wav").rename(elsewhere / "c.wav")
    (audio / "more").symlink_to(elsewhere)
    (audio / "music" / "loop").symlink_to(audio)
    (audio / "again").symlink_to(audio / "speech")
    (audio / "file.wav").symlink_to(elsewhere / "c.wav")

    paths = find_audio(str(audio)).paths
    assert paths == ["again/b.wav", "file.wav", "more/c.wav", "music/a.wav"]
    assert list_folder() == 0
    printed = capsys.readouterr().out
    assert f"music/loop: not listed twice: the same folder as {audio}\n" in printed
    assert "speech: not listed twice: the same folder as again\n" in printed
    assert find_audio(f"{audio}/").paths == paths


def test_only_the_given_extensions_in_any_spelling(write_sound, audio):
    for name in ("a.wav", "b.WAV", "c.flac", "d.ogg"):
        write_sound(name)
    assert find_audio(str(audio), [".Wav", "ogg"]).paths == ["a.wav", "b.WAV", "d.ogg"]


def test_a_folder_that_cannot_be_opened_is_reported(
    write_sound, list_folder, close_folder, capsys, audio, out
):
    write_sound("open/a.wav")
    write_sound("closed/b.wav")
    close_folder("closed")
    assert list_folder() == 1
    assert (out / "unreadable.tsv").read_text() == "closed\tPermission denied\n"
    (audio / "open" / "a.wav").unlink()
    assert list_folder("--force") == 1
    assert "found no audio file (closed: Permission denied), expected" in capsys.readouterr().err


def test_the_folder_that_a_clip_is_in_is_its_label(
    write_sound, list_folder, labels_of, capsys, out
):
    for label in ("owl", "wren", "Male speech, man speaking"):
        for index in range(10):
            write_sound(f"night/{label}/{index}.wav")
    write_sound("loose.wav")

    options = ("--labels-from", "parent", "--valid-fraction", "0.2", "--eval-fraction", "0.1")
    assert list_folder(*options) == 1
    assert (out / "label_descriptors.csv").read_text() == (
        '0,Male speech_ man speaking,"Male speech, man speaking"\n1,owl,"owl"\n2,wren,"wren"\n'
    )
    sizes = {}
    for split in ("train", "valid", "eval"):
        labels = labels_of(split)
        assert all(names == [os.path.basename(os.path.dirname(p))] for p, names in labels.items())
        sizes[split] = Counter(name for names in labels.values() for name in names)
    assert set(sizes["train"].values()) == {7}
    assert set(sizes["valid"].values()) == {2}
    assert set(sizes["eval"].values()) == {1}
    unreadable = (out / "unreadable.tsv").read_text()
    assert unreadable == "loose.wav\tin no folder that would be its label\n"
    printed = capsys.readouterr().out
    assert f"{out}/train.tsv: 21 clips, 0.00 hours\n" in printed
    assert "  3 classes with 7 to 7 clips, 1 classes per clip\n" in printed
    assert "\nclips per class: Male speech, man speaking (10), owl (10), wren (10)\n" in printed
    assert printed.endswith(f"next: eat stats {out}/train.tsv\n")


def test_labels_of_a_table(write_sound, list_folder, tmp_path, labels_of, capsys, audio, out):
    for name in ("a/1.wav", "a/2.flac", "3.wav", "4.wav", "extra.wav"):
        write_sound(name)
    table = tmp_path / "labels.csv"
    table.write_text(
        "fname,labels,split\n"
        '1,"Dog,Cat",dev\n'
        f"{audio}/a/2.flac,Cat,dev\n"
        "./3.wav,Dog,test\n3.wav,Bird,test\n"
        "gone.wav,Dog,test\n"
        "4.wav,,dev\n"
    )
    options = ("--labels-from", f"csv:{table}", "--splits-from", "column:Split")
    assert list_folder(*options) == 1
    assert labels_of("dev") == {"a/1.wav": ["Dog", "Cat"], "a/2.flac": ["Cat"]}
    assert labels_of("test") == {"3.wav": ["Dog", "Bird"]}
    assert (out / "unreadable.tsv").read_text().splitlines() == [
        f"gone.wav\tno such audio file ({table}:6)",
        "4.wav\tno label",
        "extra.wav\tno label",
    ]
    assert not (out / "train.tsv").exists()
    printed, err = capsys.readouterr()
    assert "  3 classes with 0 to 2 clips, 1.5 classes per clip\n" in printed
    assert "  1 classes without a clip: Bird\n" in printed
    assert f"left out 3 inputs, listed in {out}/unreadable.tsv; the first is 'gone.wav'" in err


def test_splits_of_the_topmost_folders(write_sound, list_folder, labels_of, out):
    for index in range(10):
        write_sound(f"train/owl/{index}.wav")
    write_sound("test/owl/x.wav")
    options = ("--labels-from", "parent", "--splits-from", "top")
    assert list_folder(*options) == 0
    assert sorted(os.listdir(out)) == [
        *("label_descriptors.csv", "test.lbl", "test.tsv", "train.lbl", "train.tsv")
    ]
    assert list_folder(*options, "--valid-fraction", "0.2", "--force") == 0
    assert len(labels_of("train")) == 8
    assert len(labels_of("valid")) == 2
    assert list(labels_of("test")) == ["test/owl/x.wav"]

    write_sound("loose.wav")
    assert list_folder("--splits-from", "top", "--force") == 1


def test_another_folder_is_added_with_the_same_classes(
    write_sound, list_folder, capsys, audio, out
):
    write_sound("owl/1.wav")
    write_sound("wren/1.wav")
    assert list_folder("--labels-from", "parent", "--valid-fraction", "0") == 0
    classes = (out / "label_descriptors.csv").read_bytes()

    shutil.rmtree(audio / "owl")
    (audio / "wren" / "bad.wav").write_text("hello")
    assert list_folder("--labels-from", "parent", "--split", "eval") == 1
    assert (out / "eval.lbl").read_text() == "wren/1.wav\twren\n"
    assert (out / "eval.unreadable.tsv").read_text().startswith("wren/bad.wav\tnot readable")
    assert (out / "label_descriptors.csv").read_bytes() == classes
    assert (out / "train.lbl").read_text() == "owl/1.wav\towl\nwren/1.wav\twren\n"

    write_sound("robin/1.wav")
    capsys.readouterr()
    assert list_folder("--labels-from", "parent", "--split", "test") == 1
    assert capsys.readouterr().err == (
        f"eat manifest: error: robin/1.wav: found the label 'robin', expected one of"
        f" {out}/label_descriptors.csv\n"
    )
    assert list_folder("--labels-from", "parent", "--split", "eval") == 1
    assert f"error: {out}/eval.tsv: exists already" in capsys.readouterr().err


def test_given_classes_and_those_of_earlier_runs(write_sound, list_folder, tmp_path, capsys, out):
    write_sound("Owl/1.wav")
    write_sound("wren/1.wav")
    classes = tmp_path / "classes.csv"
    classes.write_text('0,/m/wren,"wren"\n1,robin,"Robin"\n2,/m/owl,"Owl"\n')
    labels = ("--labels-from", "parent", "--valid-fraction", "0")
    assert list_folder(*labels, "--descriptors", classes) == 0
    assert (out / "train.lbl").read_text() == "Owl/1.wav\t/m/owl\nwren/1.wav\t/m/wren\n"
    assert (out / "label_descriptors.csv").read_text() == classes.read_text()

    # Other classes are not mixed with these.
    classes.write_text("0,Owl,Owl\n1,wren,wren\n")
    assert list_folder(*labels, "--split", "eval", "--descriptors", classes) == 1
    error = f"error: {out}/label_descriptors.csv: lists other classes (--force replaces"
    assert error in capsys.readouterr().err
    assert not (out / "eval.tsv").exists()

    # Labels do not stay where there are none now.
    assert list_folder("--force", "--valid-fraction", "0") == 0
    assert sorted(os.listdir(out)) == ["label_descriptors.csv", "train.tsv"]


@pytest.mark.parametrize(
    "options, message",
    [
        (("--label-column", "x"), "--label-column: found no table, expected --labels-from csv:"),
        (("--splits-from", "column:x"), "--splits-from column:NAME: found no table, expected"),
        (("--encoding", "latin-1", "--labels-from", "top"), "--encoding: found no table, expect"),
        (("--descriptors", "x"), "--descriptors: found no labels, expected --labels-from"),
        (("--valid-fraction", "0.5", "--eval-fraction", "0.5"), "found 0.5 and 0.5, expected 0"),
        (("--split", "eval", "--valid-fraction", "0.5"), "--split: found a share for another"),
        (("--split", "eval", "--splits-from", "top"), "--split: found --splits-from too, expected"),
        (("--split", "a,b"), "found the split 'a,b', expected letters, digits"),
        (("--split", "../x"), "found the split '../x', expected letters, digits"),
    ],
)
def test_options_that_do_not_fit_together(write_sound, list_folder, options, message, capsys):
    write_sound("owl/1.wav")
    assert list_folder(*options) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (("--labels-from", "folder"), "found 'folder', expected parent, top, csv:FILE, regex:P"),
        (("--labels-from", "csv:"), "found 'csv:', expected parent, top, csv:FILE, regex:PATTE"),
        (("--labels-from", "top:x"), "found 'top:x', expected parent, top, csv:FILE, regex:PAT"),
        (("--labels-from", "regex:("), "found 'regex:(', no regular expression: missing )"),
        (("--splits-from", "bottom"), "found 'bottom', expected top or column:NAME"),
        (("--encoding", "klingon"), "found 'klingon', expected an encoding such as latin-1"),
        (("--encoding", "hex"), "found 'hex', expected an encoding such as latin-1"),
        (("--valid-fraction", "1"), "found '1', expected a number of at least 0 and below 1"),
        (("--valid-fraction", "-0.1"), "found '-0.1', expected a number of at least 0 and below"),
        (("--valid-fraction", "few"), "--valid-fraction: found 'few', expected a number of at lea"),
    ],
)
def test_impossible_options(list_folder, options, message, capsys):
    with pytest.raises(SystemExit) as exit:
        list_folder(*options)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_the_example_of_a_table(write_sound, list_folder, tmp_path, labels_of):
    text = (REPOSITORY / "manifests" / "README.md").read_text(encoding="utf-8")
    table = next(b for b in re.findall(r"```\n(.*?)```", text, re.S) if "filename,labels" in b)
    (tmp_path / "labels.csv").write_text(table)
    write_sound("birds/wren.flac")
    write_sound("birds/blackbird 1.wav")
    options = ("--labels-from", f"csv:{tmp_path}/labels.csv", "--valid-fraction", "0")
    assert list_folder(*options) == 0
    assert labels_of("train") == {
        "birds/blackbird 1.wav": ["Bird", "Chirp"],
        "birds/wren.flac": ["Bird"],
    }


def test_a_table_that_is_not_utf8(write_sound, list_folder, tmp_path, labels_of, capsys, out):
    write_sound("1.wav")
    table = tmp_path / "l.csv"
    table.write_bytes(b"file,label\n1.wav,B\xf6e\n")
    options = ("--labels-from", f"csv:{table}", "--valid-fraction", "0")
    assert list_folder(*options) == 1
    error = f"eat manifest: error: {table}:2: not UTF-8 (byte 0xf6), expected UTF-8, or for"
    assert capsys.readouterr().err.startswith(error)
    assert not out.exists()
    assert list_folder(*options, "--encoding", "latin-1") == 0
    assert labels_of("train") == {"1.wav": ["B\xf6e"]}


def test_folders_that_are_no_labels_are_named(write_sound, audio, out):
    write_sound("boe/1.wav")
    (audio / "boe").rename(audio / "b\udcf6e")
    message = "b\udcf6e/1.wav: found 'b\\udcf6e', expected an id or name in UTF-8"
    with pytest.raises(LabelError, match=re.escape(message)):
        annotations.list_folder(str(audio), str(out), FolderConfig(labels_from="parent"))
    assert not out.exists()


def test_unicode_forms_of_a_label_are_one_class(write_sound, list_folder, labels_of, capsys, out):
    write_sound("\xe9/1.wav")
    write_sound("d/e\u0301 /2.wav")
    assert list_folder("--labels-from", "parent", "--valid-fraction", "0") == 0
    assert labels_of("train") == {"d/e\u0301 /2.wav": ["\xe9"], "\xe9/1.wav": ["\xe9"]}
    message = "1 labels fit others but for blanks around them or their Unicode form\n"
    assert message in capsys.readouterr().out
    (out / "label_descriptors.csv").write_text('0,x,"e\u0301"\n')
    assert list_folder("--labels-from", "parent", "--split", "eval") == 0
    assert (out / "eval.lbl").read_text().endswith("\xe9/1.wav\tx\n")


MIXED = "the folders 'test', 'train-2' look like splits, and their clips are mixed: --splits-from"
CLASSES = "the classes 'test', 'train' look like splits: --splits-from top takes splits from folde"
PARENTS = "labels are the folders that files are in, not the topmost ones: --labels-from top makes"


@pytest.mark.parametrize(
    "names, options, said",
    [
        (("train/x", "test/x"), "--labels-from parent", CLASSES),
        (("train/x", "test/x"), "--labels-from top", CLASSES),
        (("a/Train/x",), "--labels-from parent", "the classes 'Train' look like splits: --splits-"),
        (("train/x", "owl/x"), "--labels-from parent", None),
        (("trains/x", "tested/x"), "--labels-from parent", None),
        (("train-2/cat/x", "test/cat/x"), "--labels-from parent", MIXED),
        (("train-2/cat/x", "test/cat/x"), "--labels-from regex:(cat)", MIXED),
        (("train-2/cat/x", "test/cat/x"), "", MIXED),
        (("d/train-2/cat/x", "d/test/cat/x"), "", "AUDIO/d is what is listed)"),
        (("train-2/cat/x", "test/cat/x"), "--labels-from parent --splits-from top", None),
        (("train-2/cat/x", "test/cat/x"), "--labels-from parent --split eval", None),
        (
            ("language/a/x", "music/b/x"),
            "--labels-from parent",
            f"{PARENTS} the classes 'lang",
        ),
        (("night/a/x", "night/b/x"), "--labels-from parent", None),
        (("a/x", "b/x"), "--labels-from parent", None),
    ],
)
def test_a_likelier_reading_of_folders_is_said(
    write_sound, list_folder, names, options, said, capsys, audio
):
    for name in names:
        write_sound(f"{name}.wav")
    assert list_folder(*options.split()) == 0
    output = "".join(capsys.readouterr()).replace(str(audio), "AUDIO")
    assert said is None or said in output
    assert said is not None or not re.search("look like|not the topmost", output)


@pytest.mark.parametrize(
    "cells, options, said",
    [
        (("a;b", "c;d"), (), "2 of 2 cells of the label column hold ';' and are one label each:"),
        (("a|b", "c"), (), "1 of 2 cells of the label column hold '|' and are one label each: --l"),
        (("a|b", "c|d"), ("--label-separator", "|"), None),
        (("a|b", "c|d"), ("--label-separator", ""), None),
        (("a", "b"), (), None),
    ],
)
def test_a_separator_that_was_not_given_is_said(
    write_sound, list_folder, tmp_path, cells, options, said, capsys
):
    for index in range(len(cells)):
        write_sound(f"{index}.wav")
    rows = [f'{index},"{cell}"\n' for index, cell in enumerate(cells)]
    (tmp_path / "l.csv").write_text("".join(["file,label\n", *rows]))
    assert list_folder("--labels-from", f"csv:{tmp_path}/l.csv", *options) == 0
    error = capsys.readouterr().err
    assert said in error if said else "label column" not in error


def test_of_many_classes_the_largest_and_smallest_are_printed(write_sound, list_folder, capsys):
    for index in range(21):
        for clip in range(2 if index < 11 else 1):
            write_sound(f"c{index}/{clip}.wav", 400)
    assert list_folder("--labels-from", "top") == 0
    line = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("clips per class"))
    largest = ", ".join(f"{name} (2)" for name in sorted(f"c{i}" for i in range(11))[:10])
    smallest = ", ".join(f"{name} (1)" for name in sorted(f"c{i}" for i in range(11, 21))[-5:])
    assert line == f"clips per class: {largest}, ... 6 more ..., {smallest}"


def test_names_of_a_table_that_fit_nearly_are_counted(
    write_sound, list_folder, tmp_path, labels_of, capsys, out
):
    write_sound("porto.wav")
    write_sound("sub/x.wav")
    write_sound("e\u0301.wav")
    table = tmp_path / "l.csv"
    table.write_text('file,label\n" porto.wav",a\n\xe9.wav,a\nSub\\X.WAV,a\n', encoding="utf-8")
    assert list_folder("--labels-from", f"csv:{table}", "--valid-fraction", "0") == 1
    assert sorted(labels_of("train")) == ["e\u0301.wav", "porto.wav"]
    printed, error = capsys.readouterr()
    start = "1 names fit those of files but for"
    assert f"{start} blanks around them, e.g. ' porto.wav'\n" in printed
    assert f"{start} their Unicode form (NFC, NFD), e.g. '\xe9.wav'\n" in printed
    assert f"no such audio file ({table}:4); there is 'sub/x.wav'" in error
