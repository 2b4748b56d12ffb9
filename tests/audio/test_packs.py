import gc
import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import soundfile
from helpers import write_clips, write_mp3_without_length, write_zip

from eat.audio import AudioError, audio_info, read_audio
from eat.audio.packs import ArchiveAddress, BytesAsFile, Hdf5Address, find_pack, list_zip


@pytest.fixture
def clips(tmp_path):
    write_clips(tmp_path / "clips", 3)
    return sorted((tmp_path / "clips").iterdir())


def noise(*shape):
    return 0.1 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "caf", "w64", None])
def test_a_clip_in_a_zip(tmp_path, clips, suffix):
    clip = tmp_path / f"a.{suffix or 'mp3'}"
    if suffix:
        soundfile.write(clip, noise(44_100, 2), 44_100)
    else:
        write_mp3_without_length(clip, np.append(np.zeros(16_000), noise(48_000)), 16_000)
    files = [clip, *clips]
    for address, path in zip(write_zip(tmp_path / "p.zip", files), files, strict=True):
        assert audio_info(address) == audio_info(path)
        assert np.array_equal(read_audio(address), read_audio(path))
        part = read_audio(address, offset_samples=2_000, num_samples=1_000)
        assert np.abs(part - read_audio(path)[2_000:3_000]).max() < 1e-6


def test_what_is_an_address(tmp_path):
    with h5py.File(tmp_path / "pack.h5", "w"):
        pass
    pack = str(tmp_path / "pack.h5")
    (tmp_path / "folder.hdf5").mkdir()
    assert find_pack("a b/c.zip:10:20") == ArchiveAddress("a b/c.zip", 10, 20)
    assert find_pack("c.zip:10") is None
    assert find_pack("c.zip:10:-5") is None
    assert find_pack("c.wav:10:20") is None
    assert find_pack(f"{pack}/birds/wren.wav") == Hdf5Address(pack, "birds/wren.wav")
    assert find_pack(pack) is None
    assert find_pack(str(tmp_path / "folder.hdf5" / "a.wav")) is None
    assert find_pack(str(tmp_path / "nowhere.h5" / "a")) is None


def test_errors_of_a_zip(tmp_path, clips):
    pack = tmp_path / "pack.zip"
    write_zip(pack, clips)
    content = bytearray(pack.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"no such pack of audio: .*none\.zip"):
        read_audio(tmp_path / "none.zip:0:10")
    (tmp_path / "empty.zip").touch()
    for address, message in (
        (f"{pack}:50:{len(content)}", rf"pack\.zip: found {len(content)} bytes, expected .* 50 to"),
        (f"{pack}:0:100", r"pack\.zip:0:100: not readable as audio"),
        (f"{tmp_path}/empty.zip:0:10", r"empty\.zip: found an empty file"),
    ):
        with pytest.raises(AudioError, match=message):
            read_audio(address)
    last = content.rindex(b"PK\1\2")
    content[last + 42 : last + 46] = b"\xff\xff\xff\x7f"  # where the last file would be
    pack.write_bytes(content)
    with pytest.raises(AudioError, match=r"pack\.zip: not readable as zip"):
        list(list_zip(str(pack)))


def test_a_pack_that_was_written_anew(tmp_path, clips):
    [address, *_] = write_zip(tmp_path / "pack.zip", clips)
    assert np.array_equal(read_audio(address), read_audio(clips[0]))
    soundfile.write(clips[0], noise(*read_audio(clips[0]).shape), 16_000)
    write_zip(tmp_path / "new.zip", clips)
    os.replace(tmp_path / "new.zip", tmp_path / "pack.zip")
    assert np.array_equal(read_audio(address), read_audio(clips[0]))


@pytest.fixture
def hdf5(tmp_path):
    """`hdf5(data, **attributes)` -> address of the data in a file."""

    def write(data, file_attributes=None, **attributes):
        path = tmp_path / f"pack {len(list(tmp_path.iterdir()))}.h5"
        key = "clips/wren.wav"
        with h5py.File(path, "w") as file:
            file[key] = data
            file[key].attrs.update(attributes)
            file.attrs.update(file_attributes or {})
        return f"{path}/{key}"

    return write


@pytest.mark.parametrize(
    "subtype, dtype",
    [("PCM_16", "int16"), ("PCM_24", "int32"), ("FLOAT", "float32"), ("FLOAT", "float64")],
)
def test_samples_in_hdf5_equal_those_of_the_file(tmp_path, hdf5, subtype, dtype):
    soundfile.write(tmp_path / "a.wav", noise(8_000, 2), 44_100, subtype=subtype)
    address = hdf5(soundfile.read(tmp_path / "a.wav", dtype=dtype)[0], sample_rate=44_100)
    assert audio_info(address) == (8_000, 44_100, 2)
    assert np.array_equal(read_audio(address), read_audio(tmp_path / "a.wav"))
    part = {"offset_samples": 500, "num_samples": 700}
    assert np.array_equal(read_audio(address, **part), read_audio(tmp_path / "a.wav", **part))


def test_the_rate_of_hdf5_data(hdf5):
    """That of the data, else that of the file, else the one that is given."""
    samples = noise(3_200)
    address = hdf5(samples)
    with pytest.raises(AudioError, match=r"no attribute 'sample_rate' .* hdf5_rate_hz .* 32000"):
        audio_info(address)
    assert audio_info(address, hdf5_rate_hz=32_000).sample_rate_hz == 32_000
    assert len(read_audio(address, hdf5_rate_hz=32_000)) == 1_600
    of_file = {"file_attributes": {"sample_rate": 8_000}}
    assert audio_info(hdf5(samples, **of_file), hdf5_rate_hz=32_000).sample_rate_hz == 8_000
    assert audio_info(hdf5(samples, **of_file, sample_rate=16_000)).sample_rate_hz == 16_000
    with pytest.raises(AudioError, match=r"found the sample rate .*0\.5.*, expected a positive"):
        audio_info(hdf5(samples, sample_rate=0.5))


def test_errors_of_hdf5(tmp_path, hdf5, monkeypatch):
    address = hdf5(noise(10), sample_rate=16_000)
    folder = address.removesuffix("/wren.wav")
    (tmp_path / "no.h5").write_text("hello")
    kinds = (
        np.zeros(9, np.uint8),
        np.zeros((2, 5_000), np.float32),
        np.float32(0),
        np.zeros(9, np.float16),
    )
    of_kinds = [hdf5(data, sample_rate=16_000) for data in kinds]
    for path, message in (
        (f"{folder}/nothing", f"{folder}/nothing: found no data under this key"),
        (folder, f"{folder}: found no data under this key"),
        (of_kinds[0], r"found uint8 of shape \(9,\), expected int16, int32 or"),
        (of_kinds[1], r"found float32 of shape \(2, 5000\), expected int16, int32 or"),
        (of_kinds[2], r"found float32 of shape \(\), expected int16, int32 or"),
        (of_kinds[3], r"found float16 .* 32- or 64-bit floating point"),
        (f"{tmp_path}/no.h5/a", r"no\.h5: not readable as HDF5"),
    ):
        with pytest.raises(AudioError, match=message):
            read_audio(path)
    with pytest.raises(AudioError, match="no samples after offset 10"):
        read_audio(address, offset_samples=10)
    address = hdf5(noise(10), sample_rate=16_000)  # not opened before
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(AudioError, match=r"HDF5 needs h5py: pip install 'eat-fairseq\[hdf5\]'"):
        read_audio(address)


@pytest.mark.parametrize("kind", ["zip", "hdf5"])
def test_forked_workers_and_threads_share_a_pack(tmp_path, clips, hdf5, kind):
    if kind == "zip":
        addresses = write_zip(tmp_path / "pack.zip", clips)
    else:
        samples = [soundfile.read(clip, dtype="int16")[0] for clip in clips]
        addresses = [hdf5(data, sample_rate=16_000) for data in samples]
    addresses *= 20
    expected = [read_audio(clip) for clip in clips] * 20
    assert np.array_equal(read_audio(addresses[0]), expected[0])  # open before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        forked = pool.map(read_audio, addresses)
    with ThreadPoolExecutor(4) as threads:
        threaded = list(threads.map(read_audio, addresses))
    for one, two, three in zip(forked, threaded, expected, strict=True):
        assert np.array_equal(one, three)
        assert np.array_equal(two, three)


def test_reading_leaves_no_file_open(tmp_path, clips):
    def open_files():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    [address, *_] = write_zip(tmp_path / "pack.zip", clips)
    read_audio(address)
    before = open_files()
    for _ in range(5):
        read_audio(address)
    assert open_files() == before


def test_bytes_as_a_file():
    file = BytesAsFile(memoryview(b"0123456789"))
    assert file.read(4) == b"0123"
    assert file.seek(-3, os.SEEK_END) == 7
    assert (file.read(), file.read(1)) == (b"789", b"")
    assert (file.seek(20), file.read(1)) == (20, b"")
    # As a larger one: all of them, then nothing; the last ones again at the pretended end.
    file = BytesAsFile(memoryview(b"0123456789" * 20), 1000)
    assert (file.read(500), file.read(500)) == (b"0123456789" * 20, b"")
    assert file.seek(-128, os.SEEK_END) == 872
    assert file.read(128) == (b"0123456789" * 20)[-128:]
