import numpy as np
import pytest
import soundfile

from eat.audio import AudioError, audio_info, read_audio


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


def test_channels_are_averaged(tmp_path):
    left, right = sine(0.1, 16_000), sine(0.1, 16_000, hz=1000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    assert np.allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("offset, count", [(0, 5_000), (3_333, 5_000), (30_001, 20_000), (7, None)])
def test_a_part_equals_that_part_of_the_whole(tmp_path, sample_rate_hz, offset, count):
    generator = np.random.default_rng(0)
    noise = 0.1 * generator.standard_normal(3 * sample_rate_hz)
    soundfile.write(tmp_path / "a.wav", noise, sample_rate_hz, subtype="FLOAT")
    whole = read_audio(tmp_path / "a.wav")
    part = read_audio(tmp_path / "a.wav", offset_samples=offset, num_samples=count)
    end = None if count is None else offset + count
    assert part.shape == whole[offset:end].shape
    assert np.abs(part - whole[offset:end]).max() < 1e-4


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


def test_info_reads_the_header(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((22_050, 2)), 44_100)
    info = audio_info(tmp_path / "a.wav")
    assert info == (22_050, 44_100, 2)
    assert info.duration_seconds == 0.5


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such audio file: .*nowhere\.wav"):
        read_audio(tmp_path / "nowhere.wav")


def test_not_audio(tmp_path):
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(AudioError, match=r"a\.wav: not readable as audio"):
        read_audio(tmp_path / "a.wav")


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    with pytest.raises(AudioError, match=r"a\.wav: no samples"):
        read_audio(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.zeros(100), 16_000)
    with pytest.raises(AudioError, match=r"b\.wav: no samples after offset 100"):
        read_audio(tmp_path / "b.wav", offset_samples=100)


def test_a_stream_of_unknown_length_is_refused(tmp_path):
    """A FLAC encoder that writes to a pipe leaves the number of samples at 0, "unknown"."""
    soundfile.write(tmp_path / "a.flac", sine(0.5, 16_000), 16_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0  # the number of samples: 36 bits that end the first 18 bytes of STREAMINFO
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    for read in (audio_info, read_audio):
        with pytest.raises(AudioError, match=r"a\.flac: found a stream of unknown length"):
            read(tmp_path / "a.flac")


def test_a_header_that_promises_too_much_costs_no_memory(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(0.5, 16_000), 16_000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = (0x7FFFFFF0).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")) == 8_000
