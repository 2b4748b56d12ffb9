import numpy as np
import pytest
import soundfile
from faults.damage import WAYS
from helpers import write_mp3_without_length

from eat.audio import AudioError, opening
from eat.audio.checks import AudioScan, scan_audio


@pytest.fixture
def noise():
    return (0.1 * np.random.default_rng(0).standard_normal((48_000, 2))).astype(np.float32)


@pytest.mark.parametrize("chunk_frames", [1000, 1 << 20])
@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_what_a_file_holds(tmp_path, noise, monkeypatch, format, chunk_frames):
    monkeypatch.setattr(opening, "CHUNK_FRAMES", chunk_frames)
    soundfile.write(tmp_path / "noise", noise, 48_000, format=format)
    assert scan_audio(tmp_path / "noise") == AudioScan(48_000, 48_000, is_silent=False)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_silence(tmp_path, value):
    soundfile.write(tmp_path / "silent.wav", np.full(8000, value), 16_000)
    assert scan_audio(tmp_path / "silent.wav") == AudioScan(8000, 16_000, is_silent=True)
    soundfile.write(tmp_path / "click.wav", np.append(np.full(8000, value), -0.1), 16_000)
    assert not scan_audio(tmp_path / "click.wav").is_silent


def test_an_mp3_whose_header_does_not_tell_its_length(tmp_path, noise):
    write_mp3_without_length(tmp_path / "noise.mp3", noise[:, 0], 48_000)
    assert scan_audio(tmp_path / "noise.mp3").num_samples == pytest.approx(48_000, abs=3000)


@pytest.mark.parametrize("way", WAYS)
def test_damaged_files(tmp_path, noise, way):
    WAYS[way](tmp_path / "clip.wav", noise[:16_000, 0])
    expected = FileNotFoundError if way == "missing" else AudioError
    with pytest.raises(expected, match=r"clip\.wav"):
        scan_audio(tmp_path / "clip.wav")


def test_a_number_that_is_none_at_the_end_of_a_long_file(tmp_path, noise):
    noise[-1, 1] = np.inf
    soundfile.write(tmp_path / "noise.wav", noise, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"noise.wav: found NaN or infinite samples"):
        scan_audio(tmp_path / "noise.wav")
