import io
import os

import numpy as np
import pytest
import soundfile
from helpers import write_mp3_without_length, write_zip

from eat.audio import AudioError, audio_info, opening, read_audio, scan_audio


def sine(seconds, sample_rate_hz, hz=440.0):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_any_format_and_rate_becomes_mono_16_khz(tmp_path, suffix, sample_rate_hz):
    path = tmp_path / f"ein Ton – 音.{suffix}"
    stereo = np.stack([sine(1, sample_rate_hz), sine(1, sample_rate_hz)], axis=1)
    soundfile.write(path, stereo, sample_rate_hz)
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 16_000) < 2_000  # ogg and mp3 pad
    peak_hz = np.abs(np.fft.rfft(samples[:16_000] * np.hanning(len(samples[:16_000])))).argmax()
    assert abs(peak_hz * 16_000 / len(samples[:16_000]) - 440) < 2
    assert np.abs(samples[4_000:12_000]).max() == pytest.approx(0.5, abs=0.06)  # mp3


@pytest.mark.parametrize("name", [b"a.wav", b"gr\xfcn.wav"], ids=["plain", "not UTF-8"])
def test_channels_are_averaged_and_the_header_is_read(tmp_path, name):
    left, right = sine(0.5, 16_000), sine(0.5, 16_000, hz=1000)
    path = os.path.join(tmp_path, os.fsdecode(name))
    soundfile.write(os.fsencode(path), np.stack([left, right], 1), 16_000, subtype="FLOAT")
    assert np.allclose(read_audio(path), (left + right) / 2, atol=1e-6)
    info = audio_info(path)
    assert info == (8_000, 16_000, 2)
    assert info.duration_seconds == 0.5


RATES_HZ = [250, 500, 8_000, 11_025, 12_345, 16_000, 44_100, 48_000, 192_000]


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize("offset, count", [(0, 5_000), (3_333, 5_000), (30_001, 20_000), (7, None)])
def test_a_part_equals_that_part_of_the_whole(tmp_path, sample_rate_hz, offset, count):
    generator = np.random.default_rng(0)
    noise = 0.1 * generator.standard_normal(3 * sample_rate_hz)
    soundfile.write(tmp_path / "a.wav", noise, sample_rate_hz, subtype="FLOAT")
    whole = read_audio(tmp_path / "a.wav")
    part = read_audio(tmp_path / "a.wav", offset_samples=offset, num_samples=count)
    end = None if count is None else offset + count
    assert part.shape == whole[offset:end].shape
    assert np.abs(part - whole[offset:end]).max() < 1e-6


def test_only_the_needed_part_is_decoded(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(60 * 44_100), 44_100)
    decoded = []
    read = soundfile.SoundFile.read

    def counting_read(self, *args, **kwargs):
        samples = read(self, *args, **kwargs)
        decoded.append(len(samples))
        return samples

    monkeypatch.setattr(soundfile.SoundFile, "read", counting_read)
    assert len(read_audio(tmp_path / "a.wav", num_samples=16_000)) == 16_000
    assert sum(decoded) < 1.2 * 44_100


def test_what_is_not_audio(tmp_path):
    (tmp_path / "a.wav").write_text("hello")
    (tmp_path / "a.raw").write_bytes(bytes(32_000))  # soundfile answers it with a TypeError
    soundfile.write(tmp_path / "b.wav", np.zeros(0), 16_000)
    os.mkfifo(tmp_path / "pipe.wav")
    for name, message in (
        ("a.wav", r"a\.wav: not readable as audio"),
        ("a.raw", r"a\.raw: not readable as audio: samplerate must be"),
        ("", "found no regular file, expected an audio file"),
        ("pipe.wav", "pipe.wav: found no regular file, expected an audio file"),
    ):
        for read in (audio_info, read_audio, scan_audio):
            with pytest.raises(AudioError, match=message):
                read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no such audio file: .*nowhere\.wav"):
        read_audio(tmp_path / "nowhere.wav")
    with pytest.raises(AudioError, match=r"b\.wav: no samples"):
        read_audio(tmp_path / "b.wav")
    soundfile.write(tmp_path / "b.wav", np.zeros(100), 16_000)
    with pytest.raises(AudioError, match=r"b\.wav: no samples after offset 100"):
        read_audio(tmp_path / "b.wav", offset_samples=100)


def mp3_after(junk):
    """The bytes of an mp3 of one second behind others."""
    file = io.BytesIO()
    soundfile.write(file, sine(1, 16_000), 16_000, format="MP3")
    return junk + file.getvalue()


@pytest.mark.parametrize("num_zeros", [1, 100, 70_000])
def test_zeros_before_the_first_frame_of_an_mp3_are_skipped(tmp_path, num_zeros):
    content = mp3_after(bytes(num_zeros))
    (tmp_path / "a.mp3").write_bytes(content)
    (tmp_path / "pack.zip").write_bytes(content)
    (tmp_path / "good.mp3").write_bytes(mp3_after(b""))
    for path in ("a.mp3", f"pack.zip:0:{len(content)}"):
        assert audio_info(tmp_path / path) == (16_000, 16_000, 1)
        assert np.array_equal(read_audio(tmp_path / path), read_audio(tmp_path / "good.mp3"))


def test_other_bytes_before_an_mp3(tmp_path):
    """A file and a clip in a zip are read alike; libsndfile gives up after 64 KB."""
    write_mp3_without_length(tmp_path / "x.mp3", sine(1, 16_000), 16_000)
    unsized = (tmp_path / "x.mp3").read_bytes()
    noise = np.random.default_rng(0).bytes(5_000)
    for junk in (b"HTTP/1.1 200 OK\r\n\r\n", b"\xff" * 99, b"\xff\xe3\xff\xff", noise):
        for good in (mp3_after(b""), unsized):
            for name, content in {"good.mp3": good, "bad.mp3": junk + good}.items():
                (tmp_path / name).write_bytes(content)
            bad = tmp_path / "bad.mp3"
            (zipped,) = write_zip(tmp_path / "pack.zip", [bad])
            expected = read_audio(tmp_path / "good.mp3")
            for path in (bad, zipped):
                assert audio_info(path) == audio_info(tmp_path / "good.mp3")
                assert np.array_equal(read_audio(path), expected)
    (tmp_path / "far.mp3").write_bytes(mp3_after(bytes(range(1, 251)) * 300))
    (tmp_path / "odd.wav").write_bytes(mp3_after(b"other"))
    for file in ("far.mp3", "odd.wav"):
        path = tmp_path / file
        for one in (path, *write_zip(tmp_path / f"{path.stem}.zip", [path])):
            with pytest.raises(AudioError, match="not readable as audio"):
                read_audio(one)


def test_what_holds_no_sound_is_named(tmp_path):
    (tmp_path / "a.mp3").write_text("<html>not found</html>" * 100)
    (tmp_path / "b.mp3").touch()
    with pytest.raises(AudioError, match="a.mp3: not readable as audio: found no frame of an mp3"):
        read_audio(tmp_path / "a.mp3")
    with pytest.raises(AudioError, match="b.mp3: found an empty file, expected an audio file"):
        read_audio(tmp_path / "b.mp3")


@pytest.mark.parametrize("error", [TypeError("odd"), RuntimeError("odd"), KeyError("odd")])
@pytest.mark.parametrize("method", ["__init__", "read", "seek"])
def test_any_exception_of_a_decoder_names_the_file(tmp_path, monkeypatch, error, method):
    def fail(*args, **kwargs):
        raise error

    soundfile.write(tmp_path / "a.wav", sine(1, 16_000), 16_000)
    monkeypatch.setattr(soundfile.SoundFile, method, fail)
    with pytest.raises(AudioError, match=r"a\.wav: not readable as audio: .*odd"):
        read_audio(tmp_path / "a.wav", offset_samples=10)


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path):
    """A FLAC encoder that writes to a pipe leaves the number of samples at 0, "unknown"."""
    path = tmp_path / "a.flac"
    soundfile.write(path, sine(0.5, 16_000), 16_000)
    whole = read_audio(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the number of samples: 36 bits that end the first 18 bytes of STREAMINFO
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert audio_info(path) == (8_000, 16_000, 1)
    assert scan_audio(path).num_samples == 8_000
    assert np.array_equal(read_audio(path), whole)
    part = read_audio(path, offset_samples=5_000, num_samples=1_000)
    assert np.array_equal(part, whole[5_000:6_000])
    with pytest.raises(AudioError, match=r"a\.flac"):
        read_audio(path, offset_samples=9_000)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"a\.flac"):
        read_audio(path)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize("riff_size", [0, 36, None])
def test_a_wav_of_size_0_is_read_to_its_end(tmp_path, subtype, riff_size):
    """A recorder fills in the sizes when it stops, which one without power does not."""
    path = tmp_path / "a.wav"
    stereo = np.stack([sine(1, 44_100), sine(1, 44_100, hz=1000)], axis=1)
    soundfile.write(path, stereo, 44_100, subtype=subtype)
    whole = read_audio(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = bytes(4)
    if riff_size is not None:
        data[4:8] = riff_size.to_bytes(4, "little")
    path.write_bytes(data)
    assert audio_info(path) == (44_100, 44_100, 2)
    assert np.abs(read_audio(path) - whole).max() < 1e-6
    part = read_audio(path, 44_100, offset_samples=20_000, num_samples=1_000)
    assert np.abs(part - stereo[20_000:21_000].mean(1)).max() < 0.02  # 8 bits


def test_a_wav_of_size_0_with_other_chunks_behind_holds_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    header = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(header + b"LIST" + (20).to_bytes(4, "little") + bytes(20))
    assert audio_info(tmp_path / "a.wav").num_samples == 0
    with pytest.raises(AudioError, match=r"a\.wav: no samples after offset 0"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "format, subtype, size_at",
    [("AU", "PCM_16", 8), ("WAV", "GSM610", 56), ("WAV", "IMA_ADPCM", 56), ("WAV", "MS_ADPCM", 86)],
)
def test_other_headers_of_size_0_are_told(tmp_path, format, subtype, size_at):
    """What is packed into blocks cannot be read without its header."""
    path = tmp_path / "a"
    soundfile.write(path, sine(1, 16_000), 16_000, format=format, subtype=subtype)
    data = bytearray(path.read_bytes())
    data[size_at : size_at + 4] = bytes(4)
    path.write_bytes(data)
    message = rf"a: no samples: the header says 0, but the file has {len(data)} bytes"
    with pytest.raises(AudioError, match=message):
        audio_info(path)


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(0.5, 16_000), 16_000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = (0x7FFFFFF0).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")) == 8_000


def waxing_and_waning_noise(seconds, sample_rate_hz):
    """What takes different bit rates."""
    time = np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz
    noise = np.random.default_rng(0).standard_normal(len(time))
    return 0.1 * noise * np.cos(np.pi * time) ** 4


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("bitrate_mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_length_is_read_to_its_end(tmp_path, sample_rate_hz, bitrate_mode):
    """libsndfile guesses such a length from the first frame, and reads no further."""
    samples = waxing_and_waning_noise(6, sample_rate_hz)
    path = tmp_path / "a.mp3"
    write_mp3_without_length(path, samples, sample_rate_hz, bitrate_mode=bitrate_mode)
    guessed = soundfile.info(path).frames
    info = audio_info(path)
    assert 0 <= info.num_samples - len(samples) < 3 * 1152  # what the encoder adds
    if bitrate_mode == "VARIABLE":
        assert guessed < 0.8 * len(samples)
    assert (info.sample_rate_hz, info.num_channels) == (sample_rate_hz, 1)
    whole = read_audio(path, sample_rate_hz)
    assert len(whole) == info.num_samples
    assert np.abs(whole[-sample_rate_hz // 2 :]).max() > 0.2
    part = read_audio(path, sample_rate_hz, 5 * sample_rate_hz, 2_000)
    assert np.abs(part - whole[5 * sample_rate_hz :][:2_000]).max() < 1e-6
    with pytest.raises(AudioError, match="no samples after offset"):
        read_audio(path, sample_rate_hz, 7 * sample_rate_hz)


def test_an_mp3_without_length_and_with_tags(tmp_path):
    samples = waxing_and_waning_noise(4, 16_000)
    write_mp3_without_length(tmp_path / "a.mp3", samples, 16_000)
    sound = (tmp_path / "a.mp3").read_bytes()
    lead = b"ID3\4\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    (tmp_path / "b.mp3").write_bytes(lead + sound + b"TAG" + bytes(125))
    assert audio_info(tmp_path / "b.mp3") == audio_info(tmp_path / "a.mp3")
    assert np.array_equal(read_audio(tmp_path / "b.mp3"), read_audio(tmp_path / "a.mp3"))


@pytest.mark.parametrize("sample_rate_hz", [16_000, 44_100])
def test_an_mp3_is_read_in_parts_and_without_seams(tmp_path, monkeypatch, sample_rate_hz):
    """Its frames borrow bytes of earlier ones: without them the first 50 ms are noise."""
    path = tmp_path / "a.mp3"
    samples = waxing_and_waning_noise(6, sample_rate_hz)
    variable = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    soundfile.write(path, samples, sample_rate_hz, **variable)
    whole, _ = soundfile.read(path, dtype="float32")
    for offset in range(sample_rate_hz, 5 * sample_rate_hz, 9_999):
        part = read_audio(path, sample_rate_hz, offset, 3_000)
        assert np.abs(part - whole[offset : offset + 3_000]).max() < 1e-6
    # It is decoded piece by piece, and soundfile would seek between them.
    monkeypatch.setattr("eat.audio.opening.CHUNK_FRAMES", 5_000)
    assert np.abs(read_audio(path, sample_rate_hz) - whole).max() < 1e-6


@pytest.mark.parametrize("format, subtype", [("WAV", "GSM610"), ("AU", "G721_32")])
@pytest.mark.parametrize("chunk_frames", [1000, 1 << 20])
def test_parts_of_files_that_cannot_be_sought_in(
    tmp_path, monkeypatch, format, subtype, chunk_frames
):
    monkeypatch.setattr(opening, "CHUNK_FRAMES", chunk_frames)
    samples = 0.1 * np.random.default_rng(0).standard_normal(24_000)
    soundfile.write(tmp_path / "a", samples, 8000, format=format, subtype=subtype)
    whole = read_audio(tmp_path / "a")
    part = read_audio(tmp_path / "a", offset_samples=20_001, num_samples=5000)
    assert np.abs(part - whole[20_001:25_001]).max() < 1e-6


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"sample_rate_hz": 0}, "sample_rate_hz: found 0, expected 1 or more"),
        ({"offset_samples": -5}, "offset_samples: found -5, expected 0 or more"),
        ({"num_samples": -1}, "num_samples: found -1, expected 0 or more, or None"),
    ],
)
def test_impossible_requests(tmp_path, request_, message):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 16_000)
    with pytest.raises(ValueError, match=message):
        read_audio(tmp_path / "a.wav", **request_)
