"""Synthetic sound events with labels, to train on and to test with.

Each class is a function that draws its own pitch, tempo and decay. Every clip adds a random onset,
duration, level and background noise. The generator of a clip is seeded by (seed, class, index), so
that a clip does not depend on the others.
"""

import os
import zlib
from pathlib import Path
from typing import Callable, Dict, List, Tuple, Union

import numpy as np
import soundfile

from eat.audio import SAMPLE_RATE_HZ
from eat.files import replace_file

CLIP_SECONDS = 1.28  # 128 frames, the length of the tiny configuration

# Every component of every class stays below 8 kHz, so nothing aliases at this rate or above.
MIN_SAMPLE_RATE_HZ = 16_000

_EVENT_RATIO = (0.5, 0.95)  # share of the clip that the event fills
_SNR_DB = (5.0, 30.0)  # of the event over the background noise
_PEAK_DB = (-18.0, -1.0)  # of the finished clip, relative to full scale
_FADE_SECONDS = 0.003  # at both ends of an event, against the click of a hard edge

# Each file names its settings and this version, so that a file of other settings is replaced.
# Increase it when the sounds change.
_VERSION = 1

Event = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def synthesise(
    class_name: str,
    index: int,
    seed: int,
    duration_seconds: float = CLIP_SECONDS,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> np.ndarray:
    """Make one clip: an event of the class over background noise.

    Args:
        class_name: one of `CLASSES`.
        index: number of the clip in its class, 0 or more.
        seed: another seed gives other clips.
        duration_seconds: length of the clip.
        sample_rate_hz: 16,000 or more.

    Returns:
        (S,) float32 in [-1, 1].

    Raises:
        ValueError: an unknown class, a rate below 16 kHz or a duration below 0.1 s.
    """
    _check(class_name, duration_seconds, sample_rate_hz)
    random = np.random.default_rng([seed, zlib.crc32(class_name.encode()), index])
    num_samples = round(duration_seconds * sample_rate_hz)
    event_samples = int(num_samples * random.uniform(*_EVENT_RATIO))
    onset = random.integers(num_samples - event_samples + 1)
    time = np.arange(event_samples) / sample_rate_hz
    event = _EVENTS[class_name](time, random) * _fades(time)

    noise = _coloured_noise(num_samples, sample_rate_hz, random)
    noise *= _rms(event) / _rms(noise) * _from_db(-random.uniform(*_SNR_DB))
    clip = noise
    clip[onset : onset + event_samples] += event
    clip *= _from_db(random.uniform(*_PEAK_DB)) / np.abs(clip).max()
    return clip.astype(np.float32)


def write_events(
    folder: Union[str, "os.PathLike[str]"],
    clips_per_class: int,
    seed: int,
    duration_seconds: float = CLIP_SECONDS,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> List[Path]:
    """Write clips of every class as `folder/<class>/<class>-0001.wav`, 16-bit PCM.

    A file appears under its name only when it is complete. Files that an earlier call with the
    same settings wrote are kept; others under these names are replaced.

    Args:
        folder: created if there is none.
        clips_per_class: indices 1 to this number of each class.
        seed, duration_seconds, sample_rate_hz: as in `synthesise`.

    Returns:
        The paths of all clips, class by class.
    """
    paths = []
    for class_name in CLASSES:
        class_folder = Path(folder) / class_name
        class_folder.mkdir(parents=True, exist_ok=True)
        for index in range(1, clips_per_class + 1):
            path = class_folder / f"{class_name}-{index:04d}.wav"
            made_by = f"eat synthesis {_VERSION}: {class_name} {index} seed {seed}"
            num_samples = round(duration_seconds * sample_rate_hz)
            if not _is_written(path, made_by, num_samples, sample_rate_hz):
                clip = synthesise(class_name, index, seed, duration_seconds, sample_rate_hz)
                _write_wav(path, clip, sample_rate_hz, made_by)
            paths.append(path)
    return paths


def _check(class_name: str, duration_seconds: float, sample_rate_hz: int) -> None:
    if class_name not in _EVENTS:
        raise ValueError(f"class_name: found {class_name!r}, expected one of {', '.join(CLASSES)}")
    if duration_seconds < 0.1:
        raise ValueError(f"duration_seconds: found {duration_seconds}, expected 0.1 or more")
    if sample_rate_hz < MIN_SAMPLE_RATE_HZ:
        raise ValueError(
            f"sample_rate_hz: found {sample_rate_hz}, expected {MIN_SAMPLE_RATE_HZ} or more"
        )


def _is_written(path: Path, made_by: str, num_samples: int, sample_rate_hz: int) -> bool:
    try:
        with soundfile.SoundFile(path) as file:
            found = (file.comment, file.frames, file.samplerate)
    except soundfile.LibsndfileError:  # no such file, or not a whole one
        return False
    return found == (made_by, num_samples, sample_rate_hz)


def _write_wav(path: Path, clip: np.ndarray, sample_rate_hz: int, made_by: str) -> None:
    options = {"channels": 1, "format": "WAV", "subtype": "PCM_16"}
    with (
        replace_file(path) as file,
        soundfile.SoundFile(file, "w", sample_rate_hz, **options) as sound,
    ):
        sound.comment = made_by
        sound.write(clip)


# The classes. Each takes the time (N,) in seconds since the event's onset and a generator, and
# returns the event (N,) at any level.


def _tone(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A steady note with a weak second and third harmonic."""
    phase = _phase(time, np.full_like(time, _log_uniform(random, 250, 2000)))
    return np.sin(phase) + _harmonic(2, phase, random) + _harmonic(3, phase, random)


def _rising_chirp(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A glide of one to three octaves upwards."""
    low_hz = _log_uniform(random, 200, 800)
    octaves = random.uniform(1, 3)
    return np.sin(_phase(time, low_hz * 2 ** (octaves * time / time[-1])))


def _falling_chirp(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same glide downwards."""
    low_hz = _log_uniform(random, 200, 800)
    octaves = random.uniform(1, 3)
    return np.sin(_phase(time, low_hz * 2 ** (octaves * (1 - time / time[-1]))))


def _siren(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A pitch that swings up and down, two to six times a second."""
    swing = np.sin(2 * np.pi * (random.uniform(2, 6) * time + random.random()))
    frequency = _log_uniform(random, 600, 1600) * 2 ** (random.uniform(0.3, 0.7) * swing)
    phase = _phase(time, frequency)
    return np.sin(phase) + _harmonic(2, phase, random)


def _tremolo(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A steady note whose loudness swings, six to fourteen times a second."""
    swing = np.sin(2 * np.pi * (random.uniform(6, 14) * time + random.random()))
    depth = random.uniform(0.8, 1.0)
    return _tone(time, random) * (1 + depth * swing)


def _noise_burst(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A hiss of all frequencies that dies away."""
    return random.standard_normal(len(time)) * np.exp(-time / _log_uniform(random, 0.05, 0.3))


def _wind(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A narrow band of noise that wanders in pitch and in loudness."""
    drift = np.sin(2 * np.pi * (random.uniform(0.4, 1.2) * time + random.random()))
    carrier = _phase(time, _log_uniform(random, 500, 2500) * 2 ** (0.4 * drift))
    bandwidth_hz = _log_uniform(random, 80, 250)
    in_phase, quadrature = _low_noise(time, bandwidth_hz, random, num_channels=2)
    return in_phase * np.cos(carrier) + quadrature * np.sin(carrier)


def _clicks(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Short clicks in a steady rhythm."""
    interval = 1 / _log_uniform(random, 6, 20)
    onsets = np.arange(_FADE_SECONDS, time[-1], interval)
    click = _damped_sine(time, random.uniform(2000, 5000), 0.001)
    return _repeat(click, onsets, np.ones_like(onsets), time)


def _bouncing_ball(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Thuds that follow each other faster and more quietly."""
    bounces = np.arange(40)
    restitution = random.uniform(0.7, 0.85)
    intervals = random.uniform(0.2, 0.35) * restitution**bounces
    onsets = _FADE_SECONDS + np.cumsum(intervals) - intervals[0]
    thud = _damped_sine(time, _log_uniform(random, 150, 500), 0.015)
    tap = _damped_sine(time, random.uniform(1500, 4000), 0.001)
    return _repeat(thud + 0.7 * tap, onsets, restitution**bounces, time)


def _pluck(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A plucked string: harmonics that start together, the high ones dying first."""
    fundamental_hz = _log_uniform(random, 110, 500)
    number = np.arange(1, 15)[:, None]  # the 15th of 500 Hz would be near 8 kHz
    decay_seconds = _log_uniform(random, 0.3, 1.0) / number**0.8
    partials = np.sin(2 * np.pi * fundamental_hz * number * time) * np.exp(-time / decay_seconds)
    return (partials / number**0.7).sum(axis=0)


def _bell(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Partials that are no multiples of one pitch (Risset's bell), ringing on."""
    ratio = np.array([0.56, 0.92, 1.19, 1.71, 2.0, 2.74, 3.0, 3.76, 4.07])[:, None]
    strike_hz = _log_uniform(random, 500, 1600)
    decay_seconds = _log_uniform(random, 0.3, 1.0) / ratio**0.5
    gain = random.uniform(0.4, 1.0, ratio.shape)
    partials = np.sin(2 * np.pi * strike_hz * ratio * time) * np.exp(-time / decay_seconds)
    return (gain * partials).sum(axis=0)


def _bird(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Quick high chirps, each up and down again, with pauses between them."""
    period = 1 / random.uniform(5, 10)
    beat = time % period / (period * random.uniform(0.5, 0.8))  # above 1: the pause
    arch = np.where(beat < 1, np.sin(np.pi * np.minimum(beat, 1)), 0)
    frequency = _log_uniform(random, 2500, 4500) * 2 ** (random.uniform(0.3, 0.7) * arch)
    return np.sin(_phase(time, frequency)) * arch


def _engine(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A low hum of many harmonics, with noise in the same rhythm."""
    revving = np.sin(2 * np.pi * (random.uniform(0.3, 1.0) * time + random.random()))
    phase = _phase(time, _log_uniform(random, 40, 100) * 2 ** (0.2 * revving))
    number = np.arange(1, 21)[:, None]
    gain = random.uniform(0.3, 1.0, number.shape) / number**0.5
    hum = (gain * np.sin(number * phase + 2 * np.pi * random.random(number.shape))).sum(axis=0)
    hiss = _low_noise(time, 1000, random, num_channels=1)[0] * (1 + np.sin(phase))
    return hum / _rms(hum) + random.uniform(0.2, 0.5) * hiss / _rms(hiss)


_EVENTS: Dict[str, Event] = {
    "tone": _tone,
    "rising_chirp": _rising_chirp,
    "falling_chirp": _falling_chirp,
    "siren": _siren,
    "tremolo": _tremolo,
    "noise_burst": _noise_burst,
    "wind": _wind,
    "clicks": _clicks,
    "bouncing_ball": _bouncing_ball,
    "pluck": _pluck,
    "bell": _bell,
    "bird": _bird,
    "engine": _engine,
}

CLASSES: Tuple[str, ...] = tuple(_EVENTS)


# What the classes are made of.


def _phase(time: np.ndarray, frequency_hz: np.ndarray) -> np.ndarray:
    """(N,) radians of an oscillator with this frequency (N,) at every moment."""
    return 2 * np.pi * np.cumsum(frequency_hz) * time[1]  # time[1]: the length of a sample


def _harmonic(number: int, phase: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.uniform(0, 0.4) * np.sin(number * phase)


def _damped_sine(time: np.ndarray, frequency_hz: float, decay_seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * time) * np.exp(-time / decay_seconds)


def _repeat(
    sound: np.ndarray, onsets: np.ndarray, gains: np.ndarray, time: np.ndarray
) -> np.ndarray:
    """The sound (N,) once per onset (in seconds), cut off at the end of the event."""
    result = np.zeros_like(time)
    for start, gain in zip(np.searchsorted(time, onsets), gains, strict=True):
        result[start:] += gain * sound[: len(time) - start]
    return result


def _low_noise(
    time: np.ndarray, cutoff_hz: float, random: np.random.Generator, num_channels: int
) -> np.ndarray:
    """(channels, N) noise with a Gaussian spectrum around 0 Hz."""
    spectrum = np.fft.rfft(random.standard_normal((num_channels, len(time))))
    frequency_hz = np.fft.rfftfreq(len(time), time[1])
    return np.fft.irfft(spectrum * np.exp(-0.5 * (frequency_hz / cutoff_hz) ** 2), len(time))


def _coloured_noise(
    num_samples: int, sample_rate_hz: int, random: np.random.Generator
) -> np.ndarray:
    """(S,) noise between white and brownish: its power falls as frequency ** -exponent."""
    exponent = random.uniform(0, 1.5)
    spectrum = np.fft.rfft(random.standard_normal(num_samples))
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / sample_rate_hz)
    # Flat below 100 Hz, or most of the power, and so the SNR, would be in rumble nobody hears.
    spectrum *= np.maximum(frequency_hz, 100) ** (-exponent / 2)
    return np.fft.irfft(spectrum, num_samples)


def _fades(time: np.ndarray) -> np.ndarray:
    return np.clip(np.minimum(time, time[-1] - time) / _FADE_SECONDS, 0, 1)


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _from_db(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform**2)))
