"""Real and spoken recordings from Debian's packages, laid out for the experiments.

    python examples/real_recordings/prepare.py --out real_recordings/audio

downloads seven packages (260 MB; needs `apt-get` and `dpkg`, but not root), speaks digits with
`espeak-ng`, and writes the first 1.28 s of everything as 16 kHz FLAC (76 MB):

    digits/seven/en-us_m1_140.flac              espeak-ng: word / accent, voice variant, speed
    prompts/fr_CA_f_June/digits_7.flac          telephone prompts: voice / what is said
    instruments/snare/BJA_Pacific__SN_01.flac   drum kits: instrument / kit and file
    other/sonic-pi/loop_amen.flac               drum kits and samples: what is none of these
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import soundfile

from eat.audio import SAMPLE_RATE_HZ, AudioError, read_audio
from eat.files import replace_file
from eat.work import map_in_threads

PACKAGES = (
    *(f"asterisk-core-sounds-{language}-wav" for language in ("en", "es", "fr", "it", "ru")),
    "hydrogen-drumkits",
    "sonic-pi-samples",
)
PROMPTS = Path("usr/share/asterisk/sounds")  # below the unpacked packages
KITS = Path("usr/share/hydrogen/data/drumkits")
SAMPLES = Path("usr/share/sonic-pi/samples")

CLIP_SECONDS = 1.28  # task.target_length of pretrain_tiny
NUM_WORKERS = os.cpu_count() or 1
MIN_SAMPLES = SAMPLE_RATE_HZ // 20  # 50 ms; two kits hold empty samples

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029")
VARIANTS = (*("m8", "f5", "m7", "f4", "m6", "f3", "m5", "f2", "m4", "f1"), *("m3", "m2", "m1"))
WORDS_PER_MINUTE = (140, 180)

# What the names of drum samples say, the first that matches; kits abbreviate differently.
INSTRUMENTS = {
    "kick": r"kick|bass ?drum|^bd|_bd_|_k_",
    "hihat": r"hat|hh\d?_|^hh|^ho_",
    "snare": r"snare|^sn|_sn_|^sd|^rs_|^sr_",
    "tom": r"tom|^tm|^t\d_|^ft_",
    "cymbal": r"cymbal|crash|ride|splash|china|^cc_|^rc_|^rd|^cra_",
    "bell": r"bell|agogo|^cb|_cb\.|^bl_",
    "hand_drum": r"tabla|bongo|djembe|conga|kenkeni|dununba|sangban|cajon",
    "stick": r"stick|rim|clave|wood|click",
}


class PrepareError(Exception):
    """What is missing and how to get it, for the user's eyes."""


class Clip(NamedTuple):
    """A recording, and its place in the output without ending."""

    source: Path
    name: str


class Utterance(NamedTuple):
    """A word for espeak-ng to say."""

    word: str
    accent: str
    variant: str
    words_per_minute: int

    @property
    def name(self) -> str:
        return f"digits/{self.word}/{self.accent}_{self.variant}_{self.words_per_minute}"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Write the recordings; returns 0, or 1 if something is missing."""
    args = parse_arguments(argv)
    try:
        find_espeak()
        packages = args.packages or download(args.out.with_name(f"{args.out.name}.packages"))
        clips = [*list_prompts(packages), *list_instruments(packages)]
        num_samples = round(args.seconds * SAMPLE_RATE_HZ)
        convert_all(clips, args.out, num_samples)
        speak_all(list_utterances(args.voices), args.out, num_samples)
    except PrepareError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    return 0


def packages_arguments(description: str) -> argparse.ArgumentParser:
    """The command line of what is made of Debian's packages."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--packages",
        type=Path,
        metavar="DIR",
        help="where the packages are unpacked already, the folder that holds usr/; / if they are"
        " installed (default: download and unpack them beside --out)",
    )
    return parser


def parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The command line."""
    parser = packages_arguments(__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=CLIP_SECONDS,
        help="longer recordings are cut after them (default: %(default)s)",
    )
    parser.add_argument(
        "--voices",
        type=int,
        default=len(VARIANTS),
        help="espeak-ng's voice variants to use (default: all %(default)s)",
    )
    return parser.parse_args(argv)


def find_espeak() -> str:
    """The program that speaks."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise PrepareError("found no espeak-ng, which speaks the digits: apt-get install espeak-ng")
    return program


def download(folder: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """Download and unpack the packages that are not there yet."""
    for package in packages:
        if (folder / f"usr/share/doc/{package}").exists():
            continue
        for program in ("apt-get", "dpkg"):
            if shutil.which(program) is None:
                raise PrepareError(
                    f"found no {program}, expected Debian or Ubuntu: unpack {', '.join(packages)}"
                    " elsewhere and name the folder with --packages"
                )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial_folder:
            run(["apt-get", "download", package], partial_folder)
            (archive,) = Path(partial_folder).glob("*.deb")
            run(["dpkg", "-x", str(archive), str(folder)], partial_folder)
    return folder


def run(command: List[str], folder: str) -> None:
    """Run a program in a folder; its own message tells what went wrong."""
    print("$", *command, flush=True)
    if subprocess.run(command, cwd=folder).returncode != 0:
        raise PrepareError(f"{command[0]} failed, see above (is `apt-get update` needed?)")


def list_prompts(packages: Path) -> Iterator[Clip]:
    """The telephone prompts of five voices."""
    for voice in sorted(subfolders(packages / PROMPTS, "asterisk-core-sounds-*-wav")):
        for source in sorted(voice.rglob("*.wav")):
            section, name = source.parent.name, source.stem
            if section == "silence":
                continue
            prefix = "" if source.parent == voice else f"{section}_"
            yield Clip(source, f"prompts/{voice.name}/{prefix}{name}")


def list_instruments(packages: Path) -> Iterator[Clip]:
    """Drum kits and samples: by instrument if the name tells it."""
    kits = subfolders(packages / KITS, "hydrogen-drumkits")
    folders = {kit.name: kit for kit in sorted(kits)}
    if not (packages / SAMPLES).is_dir():
        raise missing(packages / SAMPLES, "sonic-pi-samples")
    folders["sonic-pi"] = packages / SAMPLES
    for kit, folder in folders.items():
        for source in sorted(folder.iterdir()):
            if source.suffix not in (".wav", ".flac", ".aiff"):
                continue
            instrument = instrument_of(source.name)
            if instrument is None:
                yield Clip(source, f"other/{kit}/{source.stem}")
            else:
                yield Clip(source, f"instruments/{instrument}/{kit}__{source.stem}")


def subfolders(folder: Path, package: str) -> List[Path]:
    """The folders in a folder of a package."""
    if not folder.is_dir():
        raise missing(folder, package)
    return [path for path in folder.iterdir() if path.is_dir()]


def missing(folder: Path, package: str) -> PrepareError:
    """The error that tells which package is not there."""
    return PrepareError(f"{folder}: no such folder, expected the files of Debian's {package}")


def instrument_of(name: str) -> Optional[str]:
    """The instrument that a sample's name tells, if it does."""
    for instrument, pattern in INSTRUMENTS.items():
        if re.search(pattern, name, re.IGNORECASE):
            return instrument
    return None


def list_utterances(num_voices: int) -> List[Utterance]:
    """Every word in every accent, voice and speed."""
    return [
        Utterance(word, accent, variant, words_per_minute)
        for word in WORDS
        for accent in ACCENTS
        for variant in VARIANTS[:num_voices]
        for words_per_minute in WORDS_PER_MINUTE
    ]


def convert_all(clips: Sequence[Clip], out: Path, num_samples: int) -> None:
    """Write the first samples of recordings of any format; what is there already stays."""
    work = partial(convert, out=out, num_samples=num_samples)
    kept = sum(map_in_threads(work, clips, NUM_WORKERS, "converting"))
    print(f"{out}: {kept} recordings, {len(clips) - kept} empty or shorter than 50 ms left out")


def convert(clip: Clip, out: Path, num_samples: int) -> bool:
    """Write one recording; returns whether it holds any sound."""
    path = out / f"{clip.name}.flac"
    if path.exists():
        return True
    try:
        samples = read_audio(clip.source, num_samples=num_samples)
    except AudioError as error:
        print(error, file=sys.stderr)
        return False
    if len(samples) < MIN_SAMPLES or not samples.any():
        return False
    write(path, samples)
    return True


def speak_all(utterances: Sequence[Utterance], out: Path, num_samples: int) -> None:
    """Write spoken words; those that are there already stay."""
    work = partial(speak, out=out, num_samples=num_samples)
    for _ in map_in_threads(work, utterances, NUM_WORKERS, "speaking"):
        pass
    print(f"{out}: {len(utterances)} spoken digits")


def speak(utterance: Utterance, out: Path, num_samples: int) -> None:
    """Write one spoken word."""
    path = out / f"{utterance.name}.flac"
    if path.exists():
        return
    voice, speed = f"{utterance.accent}+{utterance.variant}", str(utterance.words_per_minute)
    with tempfile.TemporaryDirectory() as folder:
        spoken = os.path.join(folder, "spoken.wav")
        command = [find_espeak(), "-v", voice, "-s", speed, "-w", spoken, utterance.word]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0 or not os.path.exists(spoken):
            raise PrepareError(f"espeak-ng failed with {' '.join(command)}: {result.stderr}")
        write(path, read_audio(spoken, num_samples=num_samples))


def write(path: Path, samples: np.ndarray) -> None:
    """Write a clip; it appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
        soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC")


if __name__ == "__main__":
    sys.exit(main())
