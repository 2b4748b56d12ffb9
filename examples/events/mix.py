"""Recordings of several minutes, mixed from sounds of Debian's packages at known times.

    python examples/events/mix.py --out events/data

downloads eight packages (240 MB; needs `apt-get` and `dpkg`, but not root) and mixes recordings of
three minutes: speech, kick, snare, hi-hat, cymbal and chime over coloured noise, at three ratios of
signal to noise. It writes them with their manifests (`manifests/README.md` has the formats):

    recordings/test-003.flac    16 kHz
    test.tsv, test.events.tsv   whole recordings; what sounds when. valid is alike
    train.tsv, unlabelled.tsv   parts of 5.12 s of other recordings
    test_20dB.tsv, ...          the test recordings of one ratio of signal to noise

`test` has voices, drum kits and chimes that none of the others has.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real_recordings"))
import prepare

from eat.audio import SAMPLE_RATE_HZ, read_audio
from eat.data.event_targets import crop_events
from eat.data.events import Event, write_events
from eat.data.labels import DESCRIPTORS_FILE, Label, write_descriptors
from eat.data.manifest import write_manifest
from eat.files import replace_file

PACKAGES = (
    *(f"asterisk-core-sounds-{language}-wav" for language in ("en", "es", "fr", "it", "ru")),
    *("hydrogen-drumkits", "sound-theme-freedesktop", "oxygen-sounds"),
)
THEMES = Path("usr/share/sounds")
CLASSES = ("speech", "kick", "snare", "hihat", "cymbal", "chime")
DESCRIPTORS = [Label(index, name, name) for index, name in enumerate(CLASSES)]
TEST_VOICES = ("it_IT_m_Carlo", "ru_RU_f_IvrvoiceRU")
TEST_KITS = ("ColomboAcousticDrumkit", "Millo_MultiLayered3", "The Black Pearl 1.0")

RATIOS_DB = (20, 10, 0)  # of signal to noise, by recording in turns
TEST_SPLITS = {ratio: f"test_{ratio}dB" for ratio in RATIOS_DB}
PART_SECONDS = 5.12  # 512 frames
MIN_SECONDS, MAX_SECONDS = 0.5, 4.0  # shorter sounds are repeated, longer ones are cut
MEAN_GAP_SECONDS = 1.25  # from the beginning of a sound to that of the next, of any class
NUM_RECORDINGS = {"unlabelled": 40, "train": 3, "valid": 3, "test": 6}

Clip = Tuple[str, int, List[Event]]  # its path, its samples, and what sounds when


class Mix(NamedTuple):
    """A recording, and what sounds when in it."""

    samples: np.ndarray
    events: List[Event]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Write recordings and manifests; returns 0, or 1 if something is missing."""
    args = parse_arguments(argv)
    try:
        packages = args.packages or prepare.download(
            args.out.with_name(f"{args.out.name}.packages"), PACKAGES
        )
        sources = {is_test: find_sounds(packages, is_test) for is_test in (False, True)}
    except prepare.PrepareError as error:
        print(f"mix: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    write_descriptors(args.out / DESCRIPTORS_FILE, DESCRIPTORS)
    for number, (split, count) in enumerate(NUM_RECORDINGS.items()):
        count = max(1, round(count * args.scale))
        mixes = []
        for index in range(count):
            generator = np.random.default_rng((args.seed, number, index))
            sounds, ratio_db = sources[split == "test"], RATIOS_DB[index % len(RATIOS_DB)]
            mixes.append(mix(sounds, ratio_db, args.seconds, generator))
        write_split(args.out, split, mixes)
        print(f"{args.out}: {split}, {count} recordings")
    return 0


def parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The command line."""
    parser = prepare.packages_arguments(__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of all draws (default: 1)")
    parser.add_argument("--seconds", type=float, default=180, help="of a recording (default: 180)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="number of recordings, times this (default: 1)"
    )
    return parser.parse_args(argv)


def find_sounds(packages: Path, is_test: bool) -> Dict[str, List[np.ndarray]]:
    """The sounds of each class, those to test on or the others, without silence at the ends."""
    found: Dict[str, List[Path]] = {name: [] for name in CLASSES}
    for voice in prepare.subfolders(packages / prepare.PROMPTS, "asterisk-core-sounds-*-wav"):
        if (voice.name in TEST_VOICES) == is_test:
            names = (path for path in voice.rglob("*.wav") if path.parent.name != "silence")
            found["speech"] += sorted(names)[::5]
    for kit in prepare.subfolders(packages / prepare.KITS, "hydrogen-drumkits"):
        if (kit.name in TEST_KITS) == is_test:
            for path in kit.iterdir():
                instrument = prepare.instrument_of(path.name)
                if instrument in found and path.suffix in (".wav", ".flac", ".aiff"):
                    found[instrument].append(path)
    for pattern in ("freedesktop/stereo/*.oga", "Oxygen-*.ogg"):
        chimes = sorted(p for p in (packages / THEMES).glob(pattern) if "audio-" not in p.name)
        found["chime"] += chimes[-len(chimes) // 3 :] if is_test else chimes[: -len(chimes) // 3]
    for name, paths in found.items():
        if not paths:
            raise prepare.missing(packages, f"packages for {name}: {', '.join(PACKAGES)}")
    sounds = {name: [trim(read_audio(path)) for path in sorted(paths)]
              for name, paths in found.items()}  # fmt: skip
    return {name: [s for s in values if len(s)] for name, values in sounds.items()}


def trim(samples: np.ndarray) -> np.ndarray:
    """A sound from where it is louder than a tenth of its peak to where it last is, faded out.

    It is repeated until it is long enough. One below 50 ms, or silent, becomes an empty one.
    """
    samples = samples[: round(MAX_SECONDS * SAMPLE_RATE_HZ)]
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max(initial=0.0) / 10)
    sound = samples[loud[0] : loud[-1] + 1].copy() if len(loud) else samples[:0]
    if len(sound) < prepare.MIN_SAMPLES:
        return sound[:0]
    fade = SAMPLE_RATE_HZ // 100
    sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    sound = np.tile(sound, int(np.ceil(MIN_SECONDS * SAMPLE_RATE_HZ / len(sound))))
    return sound / np.sqrt(np.mean(np.square(sound)))


def mix(
    sounds: Dict[str, List[np.ndarray]],
    ratio_db: float,
    seconds: float,
    generator: np.random.Generator,
) -> Mix:
    """A recording in which sounds begin at random times; none overlaps another of its class."""
    count = round(seconds * SAMPLE_RATE_HZ)
    samples, events = background(count, generator), []
    level = 10 ** (ratio_db / 20)
    free = dict.fromkeys(CLASSES, 0.0)  # by class: when the last sound has ended
    onset = generator.exponential(MEAN_GAP_SECONDS)
    while onset < seconds - MAX_SECONDS:
        label = int(generator.integers(len(CLASSES)))
        name = CLASSES[label]
        if onset > free[name] + 0.2:
            sound = sounds[name][generator.integers(len(sounds[name]))]
            start = round(onset * SAMPLE_RATE_HZ)
            samples[start : start + len(sound)] += level * generator.uniform(0.7, 1.4) * sound
            free[name] = (start + len(sound)) / SAMPLE_RATE_HZ
            events.append(Event(start / SAMPLE_RATE_HZ, free[name], label))
        onset += generator.exponential(MEAN_GAP_SECONDS)
    return Mix((0.5 * samples / np.abs(samples).max()).astype(np.float32), events)


def background(count: int, generator: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with frequency, by up to 3 dB per octave, at an RMS of 1."""
    spectrum = np.fft.rfft(generator.standard_normal(count))
    slope = generator.uniform(0, 0.5)  # of the amplitude
    spectrum *= np.maximum(np.arange(len(spectrum)) * 50.0 / count, 1e-3) ** -slope
    noise = np.fft.irfft(spectrum, count)
    return noise / np.sqrt(np.mean(np.square(noise)))


def write_split(out: Path, split: str, mixes: Sequence[Mix]) -> None:
    """Write recordings, and their manifests: whole ones, or in parts to train on."""
    clips: List[Clip] = []
    (out / "recordings").mkdir(parents=True, exist_ok=True)
    for index, (samples, events) in enumerate(mixes):
        name = f"{split}-{index:03}.flac"
        with replace_file(out / "recordings" / name) as file:
            soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC")
        if split in ("valid", "test"):
            clips.append((name, len(samples), events))
            continue
        for start in np.arange(0, len(samples) / SAMPLE_RATE_HZ - PART_SECONDS, PART_SECONDS):
            part = f"{name}/{start:.2f}-{start + PART_SECONDS:.2f}"
            inside = crop_events(events, start, PART_SECONDS)
            clips.append((part, round(PART_SECONDS * SAMPLE_RATE_HZ), inside))
    write_manifests(out, split, clips)
    if split == "test":
        for number, name in enumerate(TEST_SPLITS.values()):
            write_manifests(out, name, clips[number :: len(TEST_SPLITS)])


def write_manifests(out: Path, split: str, clips: Sequence[Clip]) -> None:
    """Write `{split}.tsv` and `{split}.events.tsv`."""
    write_manifest(out / f"{split}.tsv", "recordings", ((name, size) for name, size, _ in clips))
    lines = [(name, e.onset, e.offset, CLASSES[e.label]) for name, _, found in clips for e in found]
    write_events(out / f"{split}.events.tsv", lines)


if __name__ == "__main__":
    sys.exit(main())
