"""Parts of files, by their addresses `FILE/START-STOP`."""

import re

import h5py
import numpy as np
import pytest
import soundfile
from helpers import write_mp3_without_length

from eat.audio import AudioError, audio_info, opening, read_audio, scan_audio
from eat.audio.finding import find_inputs
from eat.audio.packing import ZipPack
from eat.audio.packs import PartAddress, find_part, spell_out
from eat.audio.read import read_part


def noise(*shape):
    return 0.1 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_what_is_the_address_of_a_part(tmp_path):
    path = str(tmp_path / "a b.wav")
    soundfile.write(path, noise(16_000), 16_000)
    with h5py.File(tmp_path / "pack.h5", "w") as pack:
        pack["0-1"] = np.zeros(400, np.float32)
    assert find_part(f"{path}/1.25-2.5") == PartAddress(path, 1.25, 2.5)
    assert find_part(f"{path}/0-12") == PartAddress(path, 0.0, 12.0)
    for other in ("1.25", "1.-2", "-1-2", "1-2.wav", "a/1-2", "1,5-2", "1e3-2e3", "١-٢"):
        assert find_part(f"{path}/{other}") is None
    assert find_part(f"{tmp_path}/1.25-2.5") is None
    assert find_part(f"{tmp_path}/gone.wav/1.25-2.5") is None
    # Without a slash it is a name, and in an HDF5 pack it is a key.
    assert find_part(f"{path}1.25-2.5") is None
    assert find_part(f"{tmp_path}/pack.h5/0-1") is None
    assert audio_info(f"{tmp_path}/pack.h5/0-1", hdf5_rate_hz=16_000).num_samples == 400
    soundfile.write(tmp_path / "1-2", noise(16_000), 16_000, format="WAV")
    assert audio_info(tmp_path / "1-2").num_samples == 16_000


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "mp3 without length"])
@pytest.mark.parametrize("native_hz", [16_000, 22_050])
@pytest.mark.parametrize("span", [(0, 0.5), (0.123457, 1.5), (1.00001, 2)])
def test_a_part_is_a_slice_of_the_whole(tmp_path, suffix, native_hz, span):
    path = tmp_path / f"a.{suffix[:4].strip()}"
    if suffix == "mp3 without length":
        write_mp3_without_length(path, noise(2 * native_hz), native_hz)
    else:
        soundfile.write(path, noise(2 * native_hz, 2), native_hz)
    tolerance = 3e-7 if "mp3" in suffix else 0  # its decoder rounds otherwise after a seek
    part = f"{path}/{span[0]}-{span[1]}"
    start, stop = (round(seconds * native_hz) for seconds in span)
    assert audio_info(part)[:2] == (stop - start, native_hz)
    assert scan_audio(part).num_samples == stop - start
    expected = read_audio(path, native_hz)[start:stop]
    assert np.abs(read_audio(part, native_hz) - expected).max() <= tolerance
    # What a part of the file is read as without an address, bit by bit; resampling a part differs
    # from resampling the whole by rounding.
    first = start * 16_000 // native_hz
    count = int(np.floor((stop - start) * 16_000 / native_hz + 0.5))
    whole = read_audio(path)[first : first + count]
    found = read_audio(part)
    assert np.array_equal(found, read_audio(path, 16_000, first, count))
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() <= (tolerance if native_hz == 16_000 else 1e-6)
    inner = read_audio(part, offset_samples=1000, num_samples=2000)
    assert np.array_equal(inner, read_audio(path, 16_000, first + 1000, 2000))
    assert np.array_equal(read_part(part, 100_000, 0.9)[0], found)
    total = (stop - start) * 16_000 // native_hz
    last, _ = read_part(part, 500, 1 - 1e-9)
    assert np.abs(last - found[total - 500 : total]).max() < 1e-6


def test_only_the_part_is_decoded(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(600 * 8000), 8000)
    decoded = []
    real_read = opening.SoundFile.read

    def read(self, frames=-1, *args, **kwargs):
        samples = real_read(self, frames, *args, **kwargs)
        decoded.append(len(samples))
        return samples

    monkeypatch.setattr(opening.SoundFile, "read", read)
    read_audio(f"{tmp_path}/a.wav/500.0-501.0")
    scan_audio(f"{tmp_path}/a.wav/500.0-501.0")
    assert sum(decoded) < 2.2 * 8000


@pytest.mark.parametrize(
    "span, message",
    [
        ("0.5-0.5", "found a part from 0.5 to 0.5 s, expected one that ends after its start, insi"),
        ("0.9-0.5", "found a part from 0.9 to 0.5 s, expected one that ends after its start, insi"),
        (
            "0.5-1.01",
            "from 0.5 to 1.01 s, expected one that ends after its start, inside the file o",
        ),
        ("2-3", "found a part from 2 to 3 s, expected one that ends after its start, inside the"),
    ],
)
def test_a_part_that_is_none(tmp_path, span, message):
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    for function in (audio_info, read_audio, scan_audio):
        with pytest.raises(AudioError, match=re.escape(f"/a.wav/{span}: ")) as error:
            function(f"{tmp_path}/a.wav/{span}")
        assert message in str(error.value)
        assert str(error.value).endswith("inside the file of 1 s")


def test_a_part_beyond_an_mp3_without_length(tmp_path):
    write_mp3_without_length(tmp_path / "a.mp3", noise(16_000), 16_000)
    part = f"{tmp_path}/a.mp3/0.5-9.0"
    with pytest.raises(AudioError, match=r"expected 136000: the part reaches beyond the file"):
        read_audio(part)
    with pytest.raises(AudioError, match="cut off: found .* expected 136000 by the part"):
        scan_audio(part)
    with pytest.raises(AudioError, match="no samples after offset 0"):
        read_audio(f"{tmp_path}/a.mp3/8.0-9.0")


def test_offsets_beyond_a_part(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    with pytest.raises(AudioError, match="no samples after offset 4000"):
        read_audio(f"{tmp_path}/a.wav/0.25-0.5", offset_samples=4000)
    with pytest.raises(FileNotFoundError, match="no such audio file: .*b.wav/0.25-0.5"):
        read_audio(f"{tmp_path}/b.wav/0.25-0.5")


def test_what_parts_are_called(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    assert spell_out("a.wav/0.25-0.5", str(tmp_path)) == "a/0.25-0.5.wav"
    part = f"{tmp_path}/a.wav/0.25-0.5"
    assert find_inputs([part])[0] == [(part, "a/0.25-0.5.wav")]
    with pytest.raises(AudioError, match="0.25-0.5: found a part of a file, expected a whole one"):
        ZipPack.load(part)
