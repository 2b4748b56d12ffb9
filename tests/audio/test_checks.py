import io
import zipfile
from threading import Lock

import numpy as np
import pytest
import soundfile
from faults.damage import WAYS
from helpers import write_mp3_without_length, write_zip

from eat.audio import AudioError, LogMel, audio_info, checks, opening, read_audio
from eat.audio.checks import AudioScan, scan_audio
from eat.features import extract_features
from eat.nn import Encoder, EncoderConfig


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
    soundfile.write(tmp_path / "silent.wav", np.full(32_000, value), 16_000)
    found = scan_audio(tmp_path / "silent.wav", log_mel=LogMel(target_length=96))
    assert found == AudioScan(32_000, 16_000, is_silent=True)  # all of it, so no note of a part
    soundfile.write(tmp_path / "click.wav", np.append(np.full(8000, value), -0.1), 16_000)
    assert not scan_audio(tmp_path / "click.wav").is_silent


def test_an_mp3_whose_header_does_not_tell_its_length(tmp_path, noise):
    write_mp3_without_length(tmp_path / "noise.mp3", noise[:, 0], 48_000)
    found = scan_audio(tmp_path / "noise.mp3")
    assert found.num_samples == pytest.approx(48_000, abs=3000)
    assert found.notes == ()


@pytest.mark.parametrize("way", [*WAYS, "infinite at the end"])
def test_damaged_files(tmp_path, noise, way):
    if way in WAYS:
        WAYS[way](tmp_path / "clip.wav", noise[:16_000, 0])
    else:
        noise[-1, 1] = np.inf
        soundfile.write(tmp_path / "clip.wav", noise, 16_000, subtype="FLOAT")
    expected = FileNotFoundError if way == "missing" else AudioError
    message = r"clip\.wav" if way in WAYS else r"clip\.wav: found NaN or infinite samples"
    with pytest.raises(expected, match=message):
        scan_audio(tmp_path / "clip.wav")


MORE = "the file holds more than its header says: what follows sample 48000 is not read"


def encode(samples, rate_hz=48_000, **kwargs):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, **kwargs)
    return file.getvalue()


@pytest.mark.parametrize(
    "format, subtype",
    [
        *(("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None), ("WAV", None)),
        *(("AU", None), ("CAF", None), ("RF64", None)),
    ],
)
@pytest.mark.parametrize("in_zip", [False, True])
def test_files_joined_into_one(tmp_path, noise, format, subtype, in_zip):
    """What `cat one two` makes: libsndfile reads the first, or refuses both."""
    one, two = (encode(n, format=format, subtype=subtype) for n in (noise, noise[::-1]))
    (tmp_path / "one").write_bytes(one)
    (tmp_path / "both").write_bytes(one + two)
    path = f"{tmp_path}/both"
    if in_zip:
        with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
            archive.writestr("both", one + two)
        start = (tmp_path / "pack.zip").read_bytes().index(one + two)
        path = f"{tmp_path}/pack.zip:{start}:{len(one + two)}"
    if format == "WAV":
        with pytest.raises(AudioError, match="not readable as audio: Error in WAV file"):
            scan_audio(path)
        return
    [note] = scan_audio(path).notes
    assert note.startswith(MORE)
    assert np.array_equal(read_audio(path), read_audio(tmp_path / "one"))
    assert scan_audio(tmp_path / "one").notes == ()


@pytest.mark.parametrize("format", ["MP3", "WAV"])
def test_a_header_whose_size_is_too_small(tmp_path, noise, format):
    """As of a WAV of more than 4 GB, for which the header has no room."""
    data = bytearray(encode(noise, format=format))
    if format == "WAV":
        place, order, missing = data.index(b"data") + 4, "little", 96_000
    else:
        place, order, missing = max(data.find(b"Xing"), data.find(b"Info")) + 8, "big", 20
    size = int.from_bytes(data[place : place + 4], order) - missing
    data[place : place + 4] = size.to_bytes(4, order)
    (tmp_path / "a").write_bytes(data)
    found = scan_audio(tmp_path / "a")
    assert found.num_samples == 24_000 or format == "MP3"
    [note] = found.notes
    assert note.startswith("the file holds more than its header says: what follows sample ")


@pytest.mark.parametrize(
    "format, rest",
    [
        ("MP3", b"TAG" + bytes(125)),
        ("MP3", b"APETAGEX" + b"x" * 5000),
        ("MP3", bytes(5000)),
        ("WAV", b"LIST" + (5000).to_bytes(4, "little") + b"x" * 5000),
        ("FLAC", b"TAG" + b"x" * 125),
    ],
)
def test_tags_and_chunks_behind_the_sound_are_no_sound(tmp_path, noise, format, rest):
    (tmp_path / "a").write_bytes(encode(noise, format=format) + rest)
    assert scan_audio(tmp_path / "a") == AudioScan(48_000, 48_000, is_silent=False)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_its_last_page_is_noted(tmp_path, noise, subtype):
    data = encode(np.tile(noise, (4, 1)), format="OGG", subtype=subtype)
    last_page = data.rindex(b"OggS")
    cut_off = data[:last_page], data[:-9], data[: last_page + 9]
    for content in (data, data + bytes(9)):
        (tmp_path / "a.ogg").write_bytes(content)
        assert scan_audio(tmp_path / "a.ogg").notes == ()
    for content in cut_off:
        (tmp_path / "a.ogg").write_bytes(content)
        for path in (tmp_path / "a.ogg", *write_zip(tmp_path / "p.zip", [tmp_path / "a.ogg"])):
            found = scan_audio(path)
            assert found.notes == (
                "the page that ends an ogg is missing: cut off, or never finished?",
            )
            assert found.num_samples == audio_info(path).num_samples < 4 * 48_000


CANCEL = "the channels cancel: their mean, which the network gets, is silent"


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("mix, notes", [([1, -1], (CANCEL,)), ([1, -0.9], ()), ([1, 0], ())])
def test_channels_that_cancel(tmp_path, noise, subtype, mix, notes):
    samples = noise[:, :1] * np.array([mix])
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype=subtype)
    assert scan_audio(tmp_path / "a.wav") == AudioScan(48_000, 16_000, False, notes)
    if mix == [1, 0]:  # many independent channels do not cancel either
        samples = 0.1 * np.random.default_rng(0).standard_normal((4000, 1000))
        soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype=subtype)
        assert scan_audio(tmp_path / "a.wav").notes == ()


@pytest.mark.parametrize("peak, is_noted", [(1.4, False), (9.9, False), (30_000, True)])
def test_samples_far_above_full_scale(tmp_path, noise, caplog, monkeypatch, peak, is_noted):
    monkeypatch.setattr(checks, "_has_warned", Lock())
    samples = noise[:, 0] * (peak / np.abs(noise[:, 0]).max())
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    notes = scan_audio(tmp_path / "a.wav").notes
    assert len(notes) == len(caplog.messages) == is_noted
    for text in (*notes, *caplog.messages):
        assert "found samples up to 3e+04, expected [-1, 1]: integers stored as floating" in text


def test_arrays_of_integers_as_floating_point_are_warned_of_once(caplog, monkeypatch):
    monkeypatch.setattr(checks, "_has_warned", Lock())
    encoder = Encoder(EncoderConfig(embed_dim=8, depth=1, num_heads=2, num_position_rows=4))
    loud = np.random.default_rng(0).integers(-(2**15), 2**15, 8000).astype(np.float32)
    extract_features([loud, loud], encoder, batch_size=1, num_workers=1)
    [message] = caplog.messages
    assert message.startswith("audio[0]: found samples up to 3.28e+04, expected [-1, 1]")


@pytest.mark.parametrize("chunk_frames", [1000, 1 << 20])
@pytest.mark.parametrize("silent_seconds, is_noted", [(1.0, True), (0.9, False), (0, False)])
def test_the_used_part_is_silent(
    tmp_path, noise, monkeypatch, chunk_frames, silent_seconds, is_noted
):
    monkeypatch.setattr(opening, "CHUNK_FRAMES", chunk_frames)
    samples = np.concatenate([noise, noise])
    samples[: int(48_000 * silent_seconds)] = 0
    soundfile.write(tmp_path / "a.wav", samples, 48_000)
    note = "the part that is used, the first 0.97 s, is silent; the rest is not"
    expected = (note,) if is_noted else ()
    assert scan_audio(tmp_path / "a.wav", log_mel=LogMel(target_length=96)).notes == expected
    assert scan_audio(tmp_path / "a.wav").notes == ()
