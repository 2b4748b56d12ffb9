"""What is fuzzed: each target makes a case from a random number generator and runs it.

A case passes when it is read, or refused with one of the errors that the target names.
"""

import io
import json
import os
import random
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Dict, List, Tuple, Type

import numpy as np
import soundfile
import torch

from eat.audio import AudioError, audio_info, read_audio, scan_audio
from eat.audio.read import read_part
from eat.checkpoint import CheckpointError, build_classifier, build_encoder, load_checkpoint
from eat.data.annotations.event_tables import read_events_of
from eat.data.annotations.table import Columns, read_table
from eat.data.events import read_events
from eat.data.labels import LabelError, read_descriptors, read_labels
from eat.data.manifest import Manifest, ManifestError
from eat.nn import Classifier, ClassifierConfig, Encoder, EncoderConfig
from eat.training.record import read_starts
from eat.training.run import read_training_log, read_training_state

from .mutation import mutate_bytes, mutate_value

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


class Target(ABC):
    """Something that reads files.

    Attributes:
        allowed: the errors with which it may refuse them.
    """

    allowed: Tuple[Type[Exception], ...]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def make(self, rng: random.Random) -> Dict[str, bytes]:
        """The files of a case, by name."""

    @abstractmethod
    def read(self) -> None:
        """Read the files in the folder."""

    def run(self, files: Dict[str, bytes]) -> None:
        """Run a case; any error but the allowed ones is a finding."""
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        try:
            self.read()
        except self.allowed as error:
            # What is refused is named; of a folder that may be the folder.
            names = [part for name in files for part in name.split("/")]
            assert any(name in str(error) for name in names), f"no file named: {error}"


class Parsers(Target):
    """All text formats, each in turn."""

    allowed = (ManifestError, LabelError, ValueError)
    NAMES = (
        "train.tsv",
        "label_descriptors.csv",
        "train.lbl",
        "train.log",
        "table.csv",
        "events.txt",
        "train.events.tsv",
        "training.json",
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._good = {
            "train.tsv": b"audio\r\na b.wav\t16000\nc/d\t.flac\t5\n\xff\xfe.wav\t0\n",
            "label_descriptors.csv": b'index,mid,name\n0,/m/09,"Speech, male"\n1,b,"B ""q"""\n',
            "train.lbl": b"a b.wav\tb,/m/09\nd\t.flac\tb\n\xff\xfe.wav b\n",
            "train.log": b'[x][INFO] - {"epoch": 1, "num_updates": "10", "loss": "3.5"}\n'
            b'[t][INFO] - {"epoch": 1, "train_num_updates": "12", "train_loss": "nan"}\nnoise {]\n',
            "table.csv": b"clip,label,split\na b.wav,Speech,train\n\"c,d\",B,valid\n",
            "events.txt": b"\xef\xbb\xbf0.5\t1,5\twren\r\n\\\t100\t200\r\n",
            "train.events.tsv": b"filename\tonset\toffset\tevent_label\na b.wav\t0.5\t1\tb\n",
            "training.json": b'{"starts": [{"command": ["x"], "epoch": 1}]}',
        }  # fmt: skip
        self._changed = self.NAMES[0]

    def make(self, rng: random.Random) -> Dict[str, bytes]:
        self._changed = name = rng.choice(self.NAMES)
        others = list(self._good.values())
        return {**self._good, name: mutate_bytes(self._good[name], others, rng)}

    def read(self) -> None:
        if self._changed in ("train.tsv", "label_descriptors.csv", "train.lbl"):
            manifest = Manifest(self.folder / "train.tsv")
            root = os.path.normpath(manifest.root).rstrip("/")
            for clip in range(len(manifest)):
                path = os.path.normpath(manifest.path(clip))
                # The root itself is no audio file, and is refused when it is opened.
                assert f"{path}/".startswith(f"{root}/"), path
            descriptors = read_descriptors(self.folder / "label_descriptors.csv")
            labels = read_labels(self.folder / "train.lbl", manifest, descriptors)
            assert len(labels) == len(manifest)
        elif self._changed == "train.events.tsv":
            manifest = Manifest(self.folder / "train.tsv")
            descriptors = read_descriptors(self.folder / "label_descriptors.csv")
            assert len(read_events(self.folder / self._changed, manifest, descriptors)) == 3
        elif self._changed == "train.log":
            read_training_log(self.folder / "train.log")
        elif self._changed == "table.csv":
            list(read_table(str(self.folder / "table.csv"), Columns()))
        elif self._changed == "events.txt":
            list(read_events_of(str(self.folder / "events.txt"), Columns()))
        else:
            read_starts(self.folder)


class Audio(Target):
    """Audio files of all formats."""

    allowed = (AudioError,)
    FORMATS = (
        *(("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW")),
        *(("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_U8")),
        *(("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT")),
        *(("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("FLAC", "PCM_16")),
        *(("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
        *(("VOC", "PCM_16"), ("NIST", "PCM_16"), ("AVR", "PCM_16"), ("SVX", "PCM_16")),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._good = [
            self._encode(*format, channels) for format in self.FORMATS for channels in (1, 2)
        ]

    @staticmethod
    def _encode(format: str, subtype: str, channels: int) -> bytes:
        channels = 1 if subtype == "GSM610" or format in ("SVX",) else channels
        samples = 0.2 * np.random.default_rng(0).standard_normal((2400, channels))
        rate_hz = 48_000 if subtype == "OPUS" else 16_000
        file = io.BytesIO()
        soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
        return file.getvalue()

    def make(self, rng: random.Random) -> Dict[str, bytes]:
        return {"clip": mutate_bytes(rng.choice(self._good), self._good, rng)}

    def read(self) -> None:
        path = self.folder / "clip"
        errors: List[AudioError] = []
        for function in (
            audio_info,
            scan_audio,
            lambda path: read_audio(path, num_samples=20_000),
            lambda path: read_audio(path, offset_samples=500, num_samples=1000),
            lambda path: read_part(path, 1000, 0.7),
            lambda path: read_audio(f"{path}/0.01-0.1"),
        ):
            try:
                function(path)
            except AudioError as error:
                errors.append(error)
        if errors:
            raise errors[0]


class Checkpoints(Target):
    """Checkpoint files: bytes, pickles inside their archives, and values."""

    allowed = (CheckpointError,)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._states = [_encoder_state(), _classifier_state(), _official_state()]
        self._files = [self._save(state) for state in self._states]
        self._files += [self._save(s, _use_new_zipfile_serialization=False) for s in self._states]

    @staticmethod
    def _save(state: Any, **kwargs: Any) -> bytes:
        file = io.BytesIO()
        torch.save(state, file, **kwargs)
        return file.getvalue()

    def make(self, rng: random.Random) -> Dict[str, bytes]:
        kind = rng.random()
        if kind < 0.4:
            state = rng.choice(self._states)
            for _ in range(rng.choice((1, 1, 2, 5))):
                state = mutate_value(state, rng)
            return {"model.pt": self._save(state)}
        if kind < 0.7:
            return {"model.pt": self._mutate_pickle(rng.choice(self._files[:3]), rng)}
        return {"model.pt": mutate_bytes(rng.choice(self._files), self._files, rng)}

    @staticmethod
    def _mutate_pickle(data: bytes, rng: random.Random) -> bytes:
        """An archive that is whole but for what its pickle says."""
        result = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(result, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith("data.pkl"):
                    content = mutate_bytes(content, [content], rng)
                new.writestr(name, content)
        return result.getvalue()

    def read(self) -> None:
        path = self.folder / "model.pt"
        errors: List[CheckpointError] = []
        for function in (_load, read_training_state):
            try:
                function(path)
            except CheckpointError as error:
                errors.append(error)
        if errors:
            raise errors[0]


class Safetensors(Target):
    """Files of safetensors, ours and Hugging Face's, with the configuration beside them."""

    allowed = (CheckpointError,)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from eat.checkpoint import convert_checkpoint

        torch.save(_encoder_state(), folder / "source.pt")
        convert_checkpoint(folder / "source.pt", folder / "ours.safetensors", to="safetensors")
        convert_checkpoint(folder / "source.pt", folder / "hf", to="huggingface")
        self._ours = (folder / "ours.safetensors").read_bytes()
        self._weights = (folder / "hf" / "model.safetensors").read_bytes()
        self._config = (folder / "hf" / "config.json").read_bytes()

    def make(self, rng: random.Random) -> Dict[str, bytes]:
        others = [self._ours, self._weights, self._config]
        if rng.random() < 0.4:
            return {"ours.safetensors": mutate_bytes(self._ours, others, rng)}
        if rng.random() < 0.3:
            weights = mutate_bytes(self._weights, others, rng)
            return {"hf/model.safetensors": weights, "hf/config.json": self._config}
        config = mutate_value(json.loads(self._config), rng)
        text = json.dumps(config, default=str, skipkeys=True).encode()
        if rng.random() < 0.3:
            text = mutate_bytes(self._config, others, rng)
        return {"hf/model.safetensors": self._weights, "hf/config.json": text}

    def run(self, files: Dict[str, bytes]) -> None:
        self._path = self.folder / next(iter(files)).split("/")[0]
        super().run(files)

    def read(self) -> None:
        _load(self._path)


def _load(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    if checkpoint.classifier is not None:
        build_classifier(checkpoint)
    else:
        build_encoder(checkpoint)


_SIZES = {"embed_dim": 8, "depth": 1, "num_heads": 2, "num_position_rows": 4}
_HISTORY = {
    "optimizer_history": [{"num_updates": 3}],
    "extra_state": {"train_iterator": {"epoch": 1}, "best": 1.0, "previous_training_time": 2.0},
}


def _encoder_state() -> Dict[str, Any]:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(**_SIZES))
    return {
        "cfg": {
            "model": {"_name": "eat", **_SIZES},
            "task": {"mean": -4.0, "std": 4.0, "target_length": 64},
        },
        "model": {f"encoder.{key}": value for key, value in encoder.state_dict().items()},
        "task_state": {},
        **_HISTORY,
    }


def _classifier_state() -> Dict[str, Any]:
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig(num_classes=3), Encoder(EncoderConfig(**_SIZES)))
    return {
        "cfg": {
            "model": {"_name": "eat_classifier", **_SIZES, "num_classes": 3},
            "task": {"mean": -4.0, "std": 4.0, "target_length": 64},
        },
        "model": dict(classifier.state_dict()),
        "task_state": {"labels": ["a", "b", "c"], "activation": "sigmoid"},
        **_HISTORY,
    }


def _official_state() -> Dict[str, Any]:
    """The released layout, with small weights."""
    state = torch.load(GOLDEN / "official_finetune.pt", weights_only=True)
    return {key: state[key] for key in ("cfg", "model", "task_state", "extra_state")}


TARGETS = {
    "parsers": Parsers,
    "audio": Audio,
    "checkpoints": Checkpoints,
    "safetensors": Safetensors,
}
