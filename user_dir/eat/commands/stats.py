"""`eat stats`: the mean and standard deviation that a config needs."""

import json
import os
from dataclasses import dataclass
from typing import Any, ClassVar

from eat.audio import RangeConfig
from eat.features import Hdf5Option

from .options import argument, option
from .shared import print_failures


@dataclass(kw_only=True)
class Options(Hdf5Option, RangeConfig):
    """Measure the mean and standard deviation of the log-mel values of clips.

    The clips are those of a manifest, or all audio files below a folder. Their lengths are measured
    too. The network's input is (x - mean) / (2 std). Every value of every real frame counts once;
    padding does not count. The released configs hold older values, which AST and Audio-MAE
    published for AudioSet, ESC-50 and Speech Commands (-4.268 and 4.569 for AudioSet) and measured
    with other loaders. To continue from a released checkpoint, keep the values that it was trained
    with; to train from scratch, take your own.
    """

    EXAMPLE: ClassVar[str] = "eat stats manifests/mine/train.tsv"

    manifest: str = argument(
        "manifest, e.g. manifests/mine/train.tsv, or folder of audio files", metavar="MANIFEST"
    )
    max_clips: int = option(
        "how many clips to measure, drawn at random; 0 measures all", 2000, at_least=0
    )
    max_seconds: float = option(
        "how many seconds to read of a clip, from its start", 10.0, at_least=1
    )
    seed: int = option("seed of the draw of clips", 1, at_least=0)
    workers: int = option("threads; by default one per core", os.cpu_count() or 1, at_least=1)
    json: bool = option("print one JSON object, for programs", False)


def run(options: Options) -> int:
    """Measure and print; 1 if clips had to be left out."""
    from eat.data.statistics import measure_statistics

    given = dict(vars(options))
    as_json = given.pop("json")
    statistics = measure_statistics(num_workers=given.pop("workers"), **given)
    if as_json:
        print(json.dumps(statistics.as_dict(), indent=2))
    else:
        print(_as_text(statistics, options.max_seconds, options.hop_ms))
    return print_failures(statistics.failures, statistics.notes)


def _as_text(statistics: Any, max_seconds: float, hop_ms: float) -> str:
    import numpy as np

    lengths = np.percentile(statistics.num_frames, [0, 50, 75, 95, 100])
    shortest, median, many, most, longest = (f"{length:.0f}" for length in lengths)
    silence, names = "", [*statistics.silent[:10], *["..."] * (len(statistics.silent) > 10)]
    if names:
        part = f"the first {max_seconds:g} s or throughout"
        silence = f"\n{len(statistics.silent)} clips are silent in {part}: {', '.join(names)}"
    settings = {"mean": f"{statistics.mean:.3f}", "std": f"{statistics.std:.3f}"}
    settings |= {"target_length": statistics.target_length, **statistics.other_range}
    line = " ".join(f"task.{key}={value}" for key, value in settings.items())
    lines = "\n".join(f"    {key}: {value}" for key, value in settings.items())
    return f"""\
measured {len(statistics.num_frames)} of {statistics.num_listed} clips, \
{statistics.hours_read:.2f} hours
frames per clip ({hop_ms:g} ms each): shortest {shortest}, median {median}, 75 % up to {many}, \
95 % up to {most}, longest {longest}{silence}

on the command line:
  {line}
or in the yaml:
  task:
{lines}"""
