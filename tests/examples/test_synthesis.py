"""Synthetic sound events: reproducible, different, and sounding like their names."""

import numpy as np
import pytest
import soundfile
from synthesis import CLASSES, synthesise, write_events

from eat.audio import SAMPLE_RATE_HZ

SEED = 1


def pitch_track(clip: np.ndarray) -> np.ndarray:
    """The strongest frequency of every 32 ms, in octaves over 1 Hz, where the event is loudest."""
    frames = np.lib.stride_tricks.sliding_window_view(clip, 512)[::160] * np.hanning(512)
    spectrum = np.abs(np.fft.rfft(frames, n=4096))
    strength = spectrum.max(axis=1)
    frequency_hz = np.fft.rfftfreq(4096, 1 / SAMPLE_RATE_HZ)[spectrum.argmax(axis=1)]
    return np.log2(frequency_hz[strength > 0.6 * strength.max()])


def octaves_climbed(class_name: str, index: int) -> float:
    track = pitch_track(synthesise(class_name, index, SEED))
    return float(np.median(track[-10:]) - np.median(track[:10]))


def loudness_over_time(clip: np.ndarray) -> np.ndarray:
    """The level of 10 ms pieces."""
    pieces = clip[: len(clip) // 160 * 160].reshape(-1, 160)
    return np.sqrt((pieces.astype(np.float64) ** 2).mean(axis=1))


@pytest.mark.parametrize("class_name", CLASSES)
def test_clips_are_sound_of_the_asked_length_and_differ_within_a_class(class_name):
    clips = np.stack([synthesise(class_name, index, SEED) for index in range(8)])
    assert clips.dtype == np.float32 and clips.shape == (8, 20_480)
    peaks = np.abs(clips).max(axis=1)
    assert peaks.max() <= 10 ** (-1 / 20) + 1e-6 and peaks.min() >= 10 ** (-18 / 20) - 1e-6
    assert np.unique(peaks).size == 8
    assert np.abs(np.corrcoef(clips) - np.eye(8)).max() < 0.9


def test_a_clip_depends_only_on_seed_class_and_index():
    clip = synthesise("bell", 7, SEED)
    for class_name in CLASSES:
        synthesise(class_name, 3, SEED)
    np.testing.assert_array_equal(synthesise("bell", 7, SEED), clip)
    for other in (synthesise("bell", 8, SEED), synthesise("bell", 7, SEED + 1)):
        assert np.abs(other - clip).max() > 0.01


def test_there_are_at_least_ten_classes_and_their_pitches_fit_their_names():
    assert len(set(CLASSES)) == len(CLASSES) >= 10
    for index in range(10):
        assert 0.5 < octaves_climbed("rising_chirp", index) < 3
        assert -3 < octaves_climbed("falling_chirp", index) < -0.5
        tracks = {c: pitch_track(synthesise(c, index, SEED)) for c in CLASSES}
        assert np.ptp(tracks["tone"]) < 0.05 and 0.4 < np.ptp(tracks["siren"]) < 1.5
        assert np.median(tracks["bird"]) > np.log2(2500)
        assert np.median(tracks["engine"]) < np.log2(1500)


def test_a_tremolo_swings_at_six_to_fourteen_hz():
    for index in range(10):
        loudness = loudness_over_time(synthesise("tremolo", index, SEED, duration_seconds=4.0))
        spectrum = np.abs(np.fft.rfft(loudness - loudness.mean()))
        swing_hz = np.fft.rfftfreq(len(loudness), 0.01)
        slow = swing_hz < 3  # the onset and the end of the event itself
        assert 5.5 < swing_hz[np.argmax(np.where(slow, 0, spectrum))] < 14.5


def test_struck_sounds_start_loud_and_die_away():
    for class_name in ("noise_burst", "pluck", "bell"):
        for index in range(10):
            loudness = loudness_over_time(synthesise(class_name, index, SEED))
            peak = int(loudness.argmax())
            assert loudness[peak : peak + 10].mean() > 1.2 * loudness[peak + 30 :].mean()


def test_bounces_come_ever_faster():
    for index in range(10):
        loudness = loudness_over_time(synthesise("bouncing_ball", index, SEED))
        middle = loudness[1:-1]
        peaks = (middle > loudness[:-2]) & (middle > loudness[2:]) & (middle > 0.3 * middle.max())
        intervals = np.diff(np.flatnonzero(peaks))
        assert len(intervals) >= 2 and intervals[0] > intervals[-1]


def test_another_rate_and_duration_give_the_same_kind_of_sound():
    clip = synthesise("tone", 1, SEED, duration_seconds=0.5, sample_rate_hz=48_000)
    assert clip.shape == (24_000,)
    spectrum = np.abs(np.fft.rfft(clip))
    assert 250 <= np.fft.rfftfreq(24_000, 1 / 48_000)[spectrum.argmax()] <= 2000
    for name, options, message in (
        ("dog", {}, "class_name: found 'dog', expected one of tone, rising"),
        ("tone", {"sample_rate_hz": 8000}, "sample_rate_hz: found 8000, expected 16000 or more"),
        ("tone", {"duration_seconds": 0.01}, "duration_seconds: found 0.01, expected 0.1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            synthesise(name, 1, SEED, **options)


def test_write_events_names_files_by_class_and_index(tmp_path):
    paths = write_events(tmp_path / "new folder", clips_per_class=2, seed=SEED)
    assert [str(path.relative_to(tmp_path / "new folder")) for path in paths[:3]] == [
        "tone/tone-0001.wav",
        "tone/tone-0002.wav",
        "rising_chirp/rising_chirp-0001.wav",
    ]
    assert sorted(paths) == sorted((tmp_path / "new folder").rglob("*.*"))
    info = soundfile.info(paths[1])
    assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE_HZ, 1, "PCM_16")
    samples, _ = soundfile.read(paths[1], dtype="float32")
    np.testing.assert_allclose(samples, synthesise("tone", 2, SEED), atol=1 / 32768)


def test_write_events_keeps_what_is_complete_and_replaces_the_rest(tmp_path):
    paths = write_events(tmp_path, clips_per_class=1, seed=SEED)
    whole = [path.read_bytes() for path in paths]
    kept, torn, empty = paths[:3]
    torn.write_bytes(whole[1][:5000])
    empty.write_bytes(b"")
    before = kept.stat().st_mtime_ns
    assert write_events(tmp_path, clips_per_class=1, seed=SEED) == paths
    assert [path.read_bytes() for path in paths] == whole
    assert kept.stat().st_mtime_ns == before
    # Another seed's files are not taken for its own.
    write_events(tmp_path, clips_per_class=1, seed=SEED + 1)
    assert kept.read_bytes() != whole[0]
