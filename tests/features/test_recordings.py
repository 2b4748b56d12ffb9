import numpy as np
import pytest
import soundfile
import torch
from helpers import write_mp3_without_length

from eat.audio import AudioError, LogMel, read_audio
from eat.features.recordings import ArrayRecording, FileRecording


def noise(num_samples, num_channels=1, seed=0):
    shape = (num_samples, num_channels) if num_channels > 1 else num_samples
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def write(path, samples, sample_rate_hz=16000, **options):
    soundfile.write(path, samples, sample_rate_hz, **options)
    return path


@pytest.mark.parametrize(
    "sample_rate_hz", [8000, 11025, 16000, 22050, 24000, 32000, 44056, 44100, 48000, 96000]
)
@pytest.mark.parametrize("num_samples", [4000, 4001, 9999, 12345])
def test_the_length_is_what_decoding_gives(tmp_path, sample_rate_hz, num_samples):
    path = write(tmp_path / "a.wav", noise(num_samples), sample_rate_hz)
    assert FileRecording(path, LogMel()).num_samples == len(read_audio(path))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
def test_a_file_is_read_in_parts(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", noise(50_000, 2), 44100)
    recording = FileRecording(path, LogMel())
    whole = read_audio(path)
    assert recording.name == str(path)
    assert np.array_equal(recording.read(0, recording.num_samples), whole)
    assert recording.read(16_000, 2000).shape == (2000,)


@pytest.mark.parametrize("bitrate_mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_length_is_read_in_full(tmp_path, bitrate_mode):
    """libsndfile's guess of its length is too small or too large."""
    loudness = np.cos(np.pi * np.arange(48_000) / 16_000) ** 4
    path = tmp_path / "a.mp3"
    write_mp3_without_length(path, noise(48_000) * loudness, 16_000, bitrate_mode=bitrate_mode)
    recording = FileRecording(path, LogMel())
    assert 48_000 <= len(recording.read(0, recording.num_samples)) < 52_000


def test_any_array_becomes_one_that_torch_takes():
    samples = noise(1000)
    samples.flags.writeable = False
    for array in (samples, samples[::-1], samples.astype(">f8")):
        recording = ArrayRecording(array, LogMel(), 16000, "audio")
        assert recording.num_samples == 1000
        part = recording.read(100, 50)
        assert part.flags.writeable and part.flags.c_contiguous and part.dtype == np.float32
        assert np.array_equal(part, array[100:150])


def test_arrays_of_another_rate_are_resampled_as_files_are(tmp_path):
    samples = noise(44100)
    path = write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    recording = ArrayRecording(samples.astype(np.float64), LogMel(), 44100, "audio")
    assert np.array_equal(recording.read(0, 16000), read_audio(path))


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".mp3"])
def test_a_cut_off_file_that_libsndfile_accepts(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", noise(160_000))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    message = rf"a\{suffix}: cut off: found 1\d{{5}} bytes of sound, expected 3200\d\d by its hea"
    if suffix == ".mp3":
        message = r"cut off: found \d+ samples .* expected 160000 by its"
    with pytest.raises(AudioError, match=message):
        recording = FileRecording(path, LogMel())
        recording.read(0, recording.num_samples)


@pytest.mark.parametrize("promised", [32_000 + 1024, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_headers_that_are_not_meant_literally(tmp_path, promised):
    path = write(tmp_path / "a.wav", noise(16000), subtype="PCM_16")
    content = bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    content[40:44] = promised.to_bytes(4, "little")
    path.write_bytes(content)
    assert FileRecording(path, LogMel()).num_samples == 16000


@pytest.mark.parametrize(
    "value, message",
    [
        (np.nan, "found NaN or infinite samples"),
        (np.inf, "found NaN or infinite samples"),
        (-1e20, r"found samples up to 1e\+20, expected \[-1, 1\]"),  # its power would be infinite
    ],
)
def test_samples_that_are_no_numbers(tmp_path, value, message):
    samples = noise(1000)
    samples[500] = value
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    for recording in (
        FileRecording(path, LogMel()),
        ArrayRecording(samples, LogMel(), 16000, "audio"),
    ):
        assert recording.read(0, 500).shape == (500,)
        with pytest.raises(AudioError, match=f"{recording.name}: {message}"):
            recording.read(0, 1000)


def test_sounds_below_one_frame(tmp_path):
    message = r"found 399 samples at 16 kHz, expected at least 400 \(25 ms\)"
    with pytest.raises(AudioError, match=f"a.wav: {message}"):
        FileRecording(write(tmp_path / "a.wav", noise(399)), LogMel())
    with pytest.raises(AudioError, match=f"audio: {message}"):
        ArrayRecording(noise(399), LogMel(), 16000, "audio")
    assert ArrayRecording(noise(400), LogMel(), 16000, "audio").num_samples == 400


@pytest.mark.parametrize(
    "samples, found",
    [
        (noise(1000, 2), r"found float32 of shape \(1000, 2\)"),
        (np.zeros(1000, np.int16), r"found int16 of shape \(1000,\)"),
        (None, r"found object of shape \(\)"),
    ],
)
def test_arrays_of_another_form(samples, found):
    with pytest.raises(ValueError, match=rf"audio\[3\]: {found}, expected a path or \(S,\) float"):
        ArrayRecording(samples, LogMel(), 16000, "audio[3]")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_floating_type(dtype):
    samples = torch.from_numpy(noise(1000)).to(dtype).requires_grad_()
    found = ArrayRecording(samples, LogMel(), 16000, "audio").read(0, 1000)
    assert np.array_equal(found, samples.detach().float().numpy())


def test_a_folder_and_a_manifest_are_no_recording(tmp_path):
    """What takes all of their files is named."""
    write(tmp_path / "a.wav", noise(16_000))
    (tmp_path / "m.tsv").write_text(f"{tmp_path}\na.wav\t16000\n")
    for path in (tmp_path, tmp_path / "m.tsv"):
        with pytest.raises(AudioError, match=f"{path}: found a folder or manifest, .*eat.tag"):
            FileRecording(path, LogMel())
