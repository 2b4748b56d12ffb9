import os
from functools import partial

import pytest

from eat.data.annotations.speech_commands import split_of_speaker
from eat.data.manifest import Manifest

# Of the published lists.
VALID = ("026290a7_nohash_0.wav", "060cd039_nohash_0.wav")
EVAL = ("0c40e715_nohash_0.wav", "0ea0e2f4_nohash_0.wav")
TRAIN = ("00176480_nohash_0.wav", "004ae714_nohash_0.wav")


@pytest.fixture
def list_words(list_clips, audio):
    return partial(list_clips, "speech-commands", audio)


@pytest.fixture
def speech_commands(write_sound, audio):
    """Two words and the noise, without the lists."""
    for word in ("bed", "yes"):
        for name in (*VALID, *EVAL, *TRAIN):
            write_sound(f"{word}/{name}", 160)
    write_sound("_background_noise_/pink_noise.wav", 1600)
    (audio / "README.md").write_text("words")
    (audio / "_background_noise_" / "README.md").write_text("noise")
    return audio


def write_lists(folder, valid, evaluation):
    (folder / "validation_list.txt").write_text("".join(f"{name}\n" for name in valid))
    (folder / "testing_list.txt").write_text("".join(f"{name}\n" for name in evaluation))


def names(paths, words=("bed", "yes")):
    return sorted(f"{word}/{name}" for word in words for name in paths)


def test_the_published_rule_agrees_with_the_published_lists():
    for split, files in (("valid", VALID), ("eval", EVAL), ("train", TRAIN)):
        assert [split_of_speaker(f"bed/{name}") for name in files] == [split, split]
    assert split_of_speaker("yes/026290a7_nohash_4.wav") == "valid"  # of the same speaker


def test_the_rule_divides_speakers_in_tenths():
    splits = [split_of_speaker(f"{speaker:08x}_nohash_0.wav") for speaker in range(20_000)]
    assert splits.count("valid") == pytest.approx(2000, abs=150)
    assert splits.count("eval") == pytest.approx(2000, abs=150)


def test_splits_by_the_lists(speech_commands, list_words, labels_of, capsys, out):
    # Not those of the rule, to see that the lists count.
    write_lists(speech_commands, [f"bed/{TRAIN[0]}", f"yes/{EVAL[0]}"], [f"yes/{VALID[1]}"])
    assert list_words() == 0
    assert labels_of("valid") == {f"bed/{TRAIN[0]}": ["bed"], f"yes/{EVAL[0]}": ["yes"]}
    assert labels_of("eval") == {f"yes/{VALID[1]}": ["yes"]}
    assert len(labels_of("train")) == 9
    assert (out / "label_descriptors.csv").read_text() == '0,bed,"bed"\n1,yes,"yes"\n'
    assert Manifest(out / "eval.tsv").root == str(speech_commands)
    error = capsys.readouterr().err
    assert error == (
        "warning: clips of train / valid / eval / words: found 9 / 2 / 1 / 2, published are 84,843"
        " / 9,981 / 11,005 / 35\n"
    )


def test_without_lists_the_hash_decides(speech_commands, list_words, labels_of, capsys):
    assert list_words() == 0
    for split, files in (("train", TRAIN), ("valid", VALID), ("eval", EVAL)):
        assert sorted(labels_of(split)) == names(files)
    printed = capsys.readouterr().out
    assert f"{speech_commands}: audio files of no word: 1 in _background_noise_\n" in printed
    for split, file in (("valid", "validation_list.txt"), ("eval", "testing_list.txt")):
        expected = f"{speech_commands}/{file} is not there: the hash of the speaker decides what"
        assert f"{expected} is {split}\n" in printed


def test_a_test_set_in_another_folder(
    speech_commands, list_words, write_sound, tmp_path, labels_of, capsys, out
):
    write_sound("bed/new_nohash_0.wav").rename(tmp_path / "new.wav")
    files = (("bed", "new_nohash_0.wav"), ("yes", TRAIN[0]), ("_silence_", VALID[0]))
    for word, name in (*files, ("_unknown_", VALID[0])):
        (tmp_path / "test" / word).mkdir(parents=True)
        (tmp_path / "test" / word / name).write_bytes((tmp_path / "new.wav").read_bytes())
    for name in names(EVAL):
        (speech_commands / name).unlink()
    (tmp_path / "test" / "loose.wav").write_bytes((tmp_path / "new.wav").read_bytes())
    assert list_words("--test", str(tmp_path / "test")) == 0
    counts = "1 in no folder, 1 in _silence_, 1 in _unknown_"
    assert f"{tmp_path}/test: audio files of no word: {counts}\n" in capsys.readouterr().out
    assert Manifest(out / "train.tsv").root == str(tmp_path)
    evaluation = labels_of("eval")
    assert evaluation == {"test/bed/new_nohash_0.wav": ["bed"], f"test/yes/{TRAIN[0]}": ["yes"]}
    train = [f"audio/{name}" for name in names(TRAIN) if name != f"yes/{TRAIN[0]}"]
    assert sorted(labels_of("train")) == train
    assert sorted(labels_of("valid")) == [f"audio/{name}" for name in names(VALID)]
    for path in Manifest(out / "eval.tsv").relative_paths():
        assert (tmp_path / path).exists()


def test_what_is_listed_and_missing(speech_commands, list_words, capsys, out):
    write_lists(speech_commands, names(VALID), [*names(EVAL), "", "bed/gone.wav"])
    (speech_commands / "yes" / TRAIN[0]).write_text("hello")
    assert list_words() == 1
    lines = (out / "unreadable.tsv").read_text().splitlines()
    assert lines[0].startswith(f"yes/{TRAIN[0]}\tnot readable as audio")
    assert lines[1:] == [f"bed/gone.wav\tno such file ({speech_commands}/testing_list.txt:6)"]
    assert list_words() == 1
    assert "train.tsv: exists already (--force replaces it)" in capsys.readouterr().err
    (speech_commands / "yes" / TRAIN[0]).unlink()
    assert list_words("--force") == 1


def test_the_full_data_set_is_recognised(speech_commands, list_words, monkeypatch, capsys):
    monkeypatch.setattr("eat.data.annotations.speech_commands.PUBLISHED", (4, 4, 4, 2))
    assert list_words() == 0
    printed, err = capsys.readouterr()
    assert "clips of train / valid / eval / words: 4 / 4 / 4 / 2, as published\n" in printed
    assert err == ""


def test_no_folder_of_words(list_words, write_sound, capsys, audio, out):
    write_sound("loose.wav")
    assert list_words() == 1
    assert capsys.readouterr().err.endswith(
        f"{audio}: found no audio file in a folder of it (1 elsewhere), expected a folder"
        " for each word\n"
    )
    assert not os.path.exists(out)


@pytest.mark.parametrize("folder", ["audio", "test"])
def test_a_folder_that_is_not_there(list_words, write_sound, tmp_path, capsys, folder):
    if folder == "test":
        write_sound("bed/1.wav")
    assert list_words("--test", str(tmp_path / "test")) == 1
    assert f"error: {tmp_path}/{folder}: no such folder, expected" in capsys.readouterr().err


def test_a_word_whose_folder_cannot_be_opened(speech_commands, list_words, close_folder, out):
    close_folder("yes")
    assert list_words() == 1
    assert (out / "unreadable.tsv").read_text() == "yes\tPermission denied\n"
