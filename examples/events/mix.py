"""Recordings of two minutes in which digits are spoken at known times, among drums and noise.

    python examples/events/mix.py --out events/data

speaks digits with `espeak-ng`, downloads drum sounds (Debian's hydrogen-drumkits, 143 MB; needs
`apt-get` and `dpkg`, but not root), and mixes both with coloured noise, at three ratios of words to
noise. It writes the recordings with their manifests (`manifests/README.md` has the formats):

    words/                      what espeak-ng spoke
    recordings/test-003.flac    16 kHz
    test.tsv, test.events.tsv   whole recordings; which word is spoken when. valid is alike
    train.tsv, unlabelled.tsv   parts of 5.12 s of other recordings

`test` has voices and drum kits that none of the others has.
"""

import argparse
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

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

DESCRIPTORS = [Label(index, word, word) for index, word in enumerate(prepare.WORDS)]
TEST_VOICES = ("f1", "f2", "m1", "m2")
TEST_KITS = ("ColomboAcousticDrumkit", "Millo_MultiLayered3", "The Black Pearl 1.0")
WORDS_PER_MINUTE = (100, 120)  # words of 0.4 to 0.9 s

RATIOS_DB = (20, 10, 5)  # of words to noise, by recording in turns
PART_SECONDS = 5.12  # 512 frames
MAX_SECONDS = 1.0  # longer sounds are cut
PAUSE_SECONDS, DRUMS_SECONDS = 0.6, 2.0  # means: from word to word, from drum to drum
NUM_RECORDINGS = {"unlabelled": 40, "train": 3, "valid": 3, "test": 6}

Clip = Tuple[str, int, List[Event]]  # its path, its samples, and what sounds when


class Sounds(NamedTuple):
    """What recordings are mixed from: by word, and of drums."""

    words: List[List[np.ndarray]]
    drums: List[np.ndarray]


class Mix(NamedTuple):
    """A recording, and what is said when in it."""

    samples: np.ndarray
    events: List[Event]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Write recordings and manifests; returns 0, or 1 if something is missing."""
    args = parse_arguments(argv)
    try:
        prepare.find_espeak()
        beside = args.out.with_name(f"{args.out.name}.packages")
        packages = args.packages or prepare.download(beside, ["hydrogen-drumkits"])
        sources = {is_test: find_sounds(args.out, packages, is_test) for is_test in (False, True)}
    except prepare.PrepareError as error:
        print(f"mix: {error}", file=sys.stderr)
        return 1
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
    parser.add_argument("--seconds", type=float, default=120, help="of a recording (default: 120)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="number of recordings, times this (default: 1)"
    )
    return parser.parse_args(argv)


def find_sounds(out: Path, packages: Path, is_test: bool) -> Sounds:
    """The sounds to test on or the others, without silence at the ends; speaks the words."""
    kits = prepare.subfolders(packages / prepare.KITS, "hydrogen-drumkits")
    paths = [path for kit in kits if (kit.name in TEST_KITS) == is_test for path in kit.iterdir()]
    paths = sorted(path for path in paths if path.suffix in (".wav", ".flac", ".aiff"))
    if not paths:
        raise prepare.missing(packages / prepare.KITS, "hydrogen-drumkits")
    num_samples = 2 * SAMPLE_RATE_HZ
    drums = [trim(read_audio(path, num_samples=num_samples)) for path in paths]
    voices = [voice for voice in prepare.VARIANTS if (voice in TEST_VOICES) == is_test]
    utterances = [
        prepare.Utterance(word, accent, voice, speed)
        for word in prepare.WORDS
        for accent in prepare.ACCENTS
        for voice in voices
        for speed in WORDS_PER_MINUTE
    ]
    prepare.speak_all(utterances, out / "words", num_samples)
    words = [[trim(read_audio(out / "words" / f"{one.name}.flac")) for one in utterances
              if one.word == word] for word in prepare.WORDS]  # fmt: skip
    return Sounds(words, [drum for drum in drums if len(drum)])


def trim(samples: np.ndarray) -> np.ndarray:
    """A sound from where it is louder than a tenth of its peak to where it last is, faded out, at
    an RMS of 1. One below 50 ms, or silent, becomes an empty one.
    """
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max(initial=0.0) / 10)
    sound = samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]
    sound = sound[: round(MAX_SECONDS * SAMPLE_RATE_HZ)].copy()
    if len(sound) < prepare.MIN_SAMPLES:
        return sound[:0]
    fade = SAMPLE_RATE_HZ // 100
    sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound / np.sqrt(np.mean(np.square(sound)))


def mix(sounds: Sounds, ratio_db: float, seconds: float, generator: np.random.Generator) -> Mix:
    """A recording in which one word after the other is said, while drums sound at random times."""
    count = round(seconds * SAMPLE_RATE_HZ)
    samples, events = background(count, generator), []
    level = 10 ** (ratio_db / 20)

    def add(kind: Sequence[np.ndarray], onset: float) -> float:
        """Add a sound of a kind, and return when it ends."""
        sound, start = kind[generator.integers(len(kind))], round(onset * SAMPLE_RATE_HZ)
        samples[start : start + len(sound)] += level * generator.uniform(0.7, 1.4) * sound
        return onset + len(sound) / SAMPLE_RATE_HZ

    onset = generator.exponential(PAUSE_SECONDS)
    while onset < seconds - MAX_SECONDS:
        label = int(generator.integers(len(sounds.words)))
        events.append(Event(onset, add(sounds.words[label], onset), label))
        onset = events[-1].offset + 0.2 + generator.exponential(PAUSE_SECONDS - 0.2)
    onset = generator.exponential(DRUMS_SECONDS)
    while onset < seconds - MAX_SECONDS:
        add(sounds.drums, onset)
        onset += generator.exponential(DRUMS_SECONDS)
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
    write_manifest(out / f"{split}.tsv", "recordings", ((name, size) for name, size, _ in clips))
    lines = [(name, e.onset, e.offset, prepare.WORDS[e.label])
             for name, _, found in clips for e in found]  # fmt: skip
    write_events(out / f"{split}.events.tsv", lines)


if __name__ == "__main__":
    sys.exit(main())
