"""How fast this machine runs EAT: an update of the pre-training, loading, feature extraction.

    (found,) = run_cases(measure_update, [UpdateCase(config="tiny", dtype="bf16")])
    found["clips_per_second"]

Each case runs in a process of its own, so that none inherits memory or threads of another. The
fields of a case are also the options of `eat benchmark`.
"""

from dataclasses import dataclass
from typing import List, Optional

from eat.lazy import export
from eat.settings import setting

DTYPES = ("fp32", "bf16", "fp16")
# What extraction can be measured on: file name extension, sample rate in Hz, channels.
RECORDINGS = (
    ("wav", 16_000, 1),
    ("wav", 44_100, 2),
    ("flac", 44_100, 2),
    ("mp3", 44_100, 2),
    ("ogg", 48_000, 1),
)
_KINDS = ", ".join(f"{i} {kind} {hz / 1000:g} kHz" for i, (kind, hz, _) in enumerate(RECORDINGS))
_SIZE = {"choices": ("tiny", "base", "large"), "several": True}  # of config/pretrain_*.yaml
_DTYPE = {"choices": DTYPES, "several": True}
_NUMBER = {"default": None, "at_least": 1, "metavar": "N"}
_NUMBERS = {**_NUMBER, "several": True}
_SETTINGS = {"help_text": "settings, as for fairseq-hydra-train", "default": []}
_SETTINGS |= {"flag": "set", "metavar": "KEY=VALUE"}


@dataclass(kw_only=True)
class UpdateCase:
    """An update of the pre-training to measure; None leaves a setting as the config has it."""

    config: str = setting("size of config/pretrain_*.yaml", "base", flag="config-size", **_SIZE)
    dtype: str = setting("what to compute in; bf16 and fp16 keep fp32 masters", "fp32", **_DTYPE)
    clips: Optional[int] = setting("clips per update (default: the config's)", **_NUMBERS)
    clones: Optional[int] = setting("clones of a clip (default: the config's)", **_NUMBERS)
    frames: Optional[int] = setting("frames of a clip (default: the config's)", **_NUMBERS)
    compile: str = setting(
        "the setting model.compile", "config", choices=("config", "off", "on"), several=True
    )
    settings: List[str] = setting(**_SETTINGS)
    data: Optional[str] = setting(
        "train on the clips of FOLDER/train.tsv, and time the wait for them", None, metavar="FOLDER"
    )
    device: str = "cpu"
    repeats: int = setting("timed updates", 5, at_least=1)
    profile: bool = setting("also list the operators that take longest", False)


@dataclass(kw_only=True)
class LoadingCase:
    """A manifest to read, and the training that it is read for."""

    manifest: str = setting(
        "manifest whose clips are read, e.g. manifests/mine/train.tsv", is_positional=True
    )
    config: str = setting("config/pretrain_*.yaml to train with", "tiny", flag="train", **_SIZE)
    dtype: str = setting("what the training computes in", "fp32", **_DTYPE)
    clips: Optional[int] = setting("clips per update (default: the config's)", **_NUMBER)
    workers: Optional[int] = setting("processes that read (default: the config's)", **_NUMBER)
    settings: List[str] = setting(**_SETTINGS)
    device: str = "cpu"
    repeats: int = setting("rounds of reading, and timed updates", 5, at_least=1)


@dataclass(kw_only=True)
class ExtractionCase:
    """An encoder, and synthetic recordings to run it on."""

    config: str = setting("untrained encoder of this size", "base", flag="config-size", **_SIZE)
    checkpoint: Optional[str] = setting("checkpoint whose encoder is taken instead", None)
    dtype: str = setting("what to compute in", "fp32", **_DTYPE)
    seconds: float = setting("length of the recordings", 10.0, at_least=0.1, several=True)
    kind: int = setting(
        f"format of the recordings: {_KINDS}",
        0,
        flag="files",
        choices=range(len(RECORDINGS)),
        several=True,
    )
    num_clips: Optional[int] = setting(
        "number of recordings (default: 32, on a GPU 512)", flag="recordings", **_NUMBER
    )
    batch_size: Optional[int] = setting("clips in one pass, as for `eat extract`", **_NUMBER)
    num_workers: Optional[int] = setting("threads, as for `eat extract`", flag="workers", **_NUMBER)
    device: str = "cpu"
    repeats: int = setting("rounds of measuring", 3, at_least=1)


_EXPORTS = {
    "extraction": ("measure_extraction",),
    "loading": ("measure_loading",),
    "measuring": ("describe_machine", "run_cases"),
    "update": ("measure_update",),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS)
__all__ += ["DTYPES", "RECORDINGS", "ExtractionCase", "LoadingCase", "UpdateCase"]
