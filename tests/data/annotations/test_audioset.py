import re
from functools import partial

import pytest

from eat.data.annotations.audioset import Segment, match_files, read_segments
from eat.data.labels import Label, read_descriptors
from eat.data.manifest import Manifest

CLASSES = """\
index,mid,display_name
0,/m/09x0r,"Speech"
1,/m/05zppz,"Male speech, man speaking"
2,/t/dd00004,"Whimper (dog)"
3,/m/0ytgt,"Child speech, ""kid"" speaking"
"""

SEGMENTS = """\
# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=8, num_segs=8, num_unique_labels=4, num_positive_labels=11
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00004"
--ZhevVpy1s, 50.000, 60.000, "/m/05zppz"
-0DdlOuIFUI, 0.000, 10.000, "/m/09x0r,/m/0ytgt"
Y1234567890, 2.500, 12.500, "/m/09x0r"
aB_cD-eF_12, 30.000, 40.000, "/t/dd00004,/m/05zppz"
0gone_gone0, 30.000, 40.000, "/m/09x0r"
0broken_000, 30.000, 40.000, "/m/09x0r"
moved_start, 30.000, 40.000, "/m/09x0r"
"""

ANY = [Label(0, "/m/1", "One"), Label(1, "/m/2", "Two")]


@pytest.fixture
def list_segments(list_clips, audio, tmp_path):
    """Runs `eat manifest audioset`."""
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    (tmp_path / "classes.csv").write_text(CLASSES)
    given = ("--segments", tmp_path / "segments.csv", "--labels", tmp_path / "classes.csv")
    return partial(list_clips, "audioset", *given, "--audio", audio)


@pytest.fixture
def files(write_sound, audio):
    """Files in the spellings of different downloaders, at different rates."""
    write_sound("part 1/--PJHxphWEs.wav", 480, 48000)
    write_sound("part 1/Y--ZhevVpy1s.flac", 441, 44100, num_channels=2)
    write_sound("part 2/-0DdlOuIFUI_0.000_10.000.wav", 160)
    write_sound("part 2/YY1234567890_2500.wav", 160)
    write_sound("aB_cD-eF_12_30-40.wav", 320, 32000)
    write_sound("moved_start_110.000.wav", 160)
    write_sound("another_one.wav", 160)
    (audio / "0broken_000.wav").write_text("<html>")


def test_clips_and_labels_of_a_segment_list(
    list_segments, files, tmp_path, labels_of, capsys, audio, out
):
    assert list_segments("--split", "balanced") == 1
    assert labels_of("balanced") == {
        "part 1/--PJHxphWEs.wav": ["Speech", "Whimper (dog)"],
        "part 1/Y--ZhevVpy1s.flac": ["Male speech, man speaking"],
        "part 2/-0DdlOuIFUI_0.000_10.000.wav": ["Speech", 'Child speech, "kid" speaking'],
        "part 2/YY1234567890_2500.wav": ["Speech"],
        "aB_cD-eF_12_30-40.wav": ["Whimper (dog)", "Male speech, man speaking"],
    }
    manifest = Manifest(out / "balanced.tsv")
    assert manifest.root == str(audio)
    assert manifest.num_samples.tolist() == [480, 441, 160, 160, 320]
    # The reference code takes what stands between the first two commas for the label.
    lines = (out / "label_descriptors.csv").read_text().splitlines()
    assert lines[1] == '1,/m/05zppz,"Male speech, man speaking"'
    assert (out / "balanced.lbl").read_text().splitlines()[0] == (
        "part 1/--PJHxphWEs.wav\t/m/09x0r,/t/dd00004"
    )
    printed, err = capsys.readouterr()
    assert f"6 of 8 clips of {tmp_path}/segments.csv have an audio file," in printed
    assert "2 of 8 audio files are not used" in printed
    assert "sample rates: 16000 Hz (2 clips), " in printed
    assert f"left out 3 inputs, listed in {out}/balanced.unreadable.tsv; the first" in err


def test_what_is_missing_is_listed(list_segments, files, tmp_path, out):
    assert list_segments() == 1
    lines = (out / "train.unreadable.tsv").read_text().splitlines()
    assert lines[0].startswith("0broken_000.wav\tnot readable as audio")
    assert lines[1:] == [
        f"0gone_gone0\tno audio file ({tmp_path}/segments.csv:9)",
        f"moved_start\tno audio file ({tmp_path}/segments.csv:11)",
    ]


def test_several_lists_in_one_folder(list_segments, files, tmp_path, capsys, out):
    assert list_segments() == 1
    assert list_segments("--split", "eval") == 1
    assert (out / "eval.lbl").read_bytes() == (out / "train.lbl").read_bytes()
    capsys.readouterr()
    assert list_segments("--split", "eval") == 1
    assert f"{out}/eval.tsv: exists already (--force" in capsys.readouterr().err
    (tmp_path / "classes.csv").write_text(CLASSES + "4,/m/new,New\n")
    assert list_segments("--split", "other") == 1
    assert "label_descriptors.csv: lists other classes (--force" in capsys.readouterr().err
    assert list_segments("--split", "other", "--force") == 1
    assert len(read_descriptors(out / "label_descriptors.csv")) == 5


def test_all_clips_are_there(list_segments, write_sound, tmp_path, out):
    (tmp_path / "segments.csv").write_text('a, 0.000, 10.000, "/m/09x0r"\n')
    write_sound("a.wav")
    assert list_segments() == 0
    assert sorted(path.name for path in (out).iterdir()) == [
        *("label_descriptors.csv", "train.lbl", "train.tsv")
    ]


def test_no_clip_is_there(list_segments, write_sound, capsys, audio, out):
    audio.mkdir()
    assert list_segments() == 1
    assert f"error: {audio}: found no audio file (no file" in capsys.readouterr().err
    write_sound("another.wav")
    assert list_segments() == 1
    error = capsys.readouterr().err
    assert f"none of 8 clips is usable; the reasons are in {out}/train.unreadable.tsv" in error
    assert not (out / "train.tsv").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", ":1: found no clips, expected YTID, start_seconds, end_seconds,"),
        ("# YTID\n", ":1: found no clips"),
        ("a, 1, 2\n", ":1: found 'a, 1, 2', expected YTID, start_seconds"),
        ("a, 1, 2, /m/1,/m/2\n", ":1: found 'a, 1, 2, /m/1, /m/2', expected YTID"),
        ('a, x, 2, "/m/1"\n', ":1: found 'a, x, 2, /m/1', expected YTID"),
        ('# x\na, 1, 2, "/m/1,/m/3"\n', ":2: found the label '/m/3', expected an id of c.csv"),
        ('a, 1, 2, ""\n', ":1: found the label '', expected an id of c.csv"),
        ('a, 1, 2, "/m/1"\n\na, 3, 4, "/m/1"\n', ":3: found 'a' as in line 1, expected each id"),
        ('a, 1, 2, "/m/1\n', ":1: unexpected end of data, expected YTID"),
    ],
)
def test_a_bad_segment_list_is_named(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/s.csv{message}")):
        read_segments(str(tmp_path / "s.csv"), ANY, "c.csv")


def test_names_of_files():
    starts = {"abc": 30.0, "Yab": 0.0, "-x_1": 7.5, "ab": 1.0, "d_5": 5.0}
    segments = {name: Segment(start, ("/m/1",), 1) for name, start in starts.items()}

    def found(*paths):
        return match_files(segments, paths)

    for end in ("", "_30", "_30.000", "_30000", "_30_40", "-30000_40000"):
        assert found(f"x/Yabc{end}.opus") == {"abc": f"x/Yabc{end}.opus"}
        assert found(f"abc{end}.wav") == {"abc": f"abc{end}.wav"}
    for stem in ("abc_31", "abc_3", "abc_30_40_50", "abc_x", "YYabc", "abcd", "", "_30"):
        assert found(f"{stem}.wav") == {}, stem
    assert found("Yab.wav") == {"Yab": "Yab.wav"}
    assert found("ab_1_11.wav") == {"ab": "ab_1_11.wav"}
    assert found("-x_1_7.5.wav") == {"-x_1": "-x_1_7.5.wav"}
    assert found("d_5.wav") == {"d_5": "d_5.wav"}
    assert found("a/abc.wav", "b/Yabc.flac") == {"abc": "a/abc.wav"}
    assert list(found("z/ab.wav", "abc.wav")) == ["abc", "ab"]  # in the order of the list
