"""What of a run goes into the tables of its page."""

from collections import Counter
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from eat.training.run_folder import Run

from .data import Split
from .summary import Fact, as_duration, measure_speed

# Sections of the configuration in the order of their weight; others follow.
_SECTIONS = (
    *("task", "model", "criterion", "optimizer", "lr_scheduler", "optimization"),
    *("dataset", "checkpoint", "common", "distributed_training"),
)
NUM_SECTIONS_SHOWN = 6  # the others are folded


def describe_split(split: Split) -> Dict[str, Any]:
    is_estimate = split.num_read < split.num_clips
    hours = f"{'about ' if is_estimate else ''}{split.hours:.2f}"
    lengths = "unknown"
    if len(split.seconds):
        shortest, median, longest = (
            f"{value:.2f}" for value in np.percentile(split.seconds, [0, 50, 100])
        )
        lengths = f"{shortest} to {longest} s, half of them below {median} s"
    return {
        "name": split.name,
        "manifest": split.manifest,
        "clips": f"{split.num_clips:,}",
        "too short": "unknown"
        if split.num_used is None
        else f"{split.num_clips - split.num_used:,}",
        "hours": hours if len(split.seconds) else "unknown",
        "lengths": lengths,
        "sample rates": _listed(split.rates_hz, "Hz"),
        "channels": _listed(split.channels, ""),
        "headers read": f"{split.num_read:,}, of which {len(split.bad_files)} failed",
    }


def _listed(counts: Counter, unit: str) -> str:
    total = sum(counts.values())
    return ", ".join(
        f"{value} {unit} ({100 * count / total:.3g} %)".replace("  ", " ")
        for value, count in counts.most_common(5)
    )


def describe_labels(splits: Sequence[Split]) -> List[Dict[str, Any]]:
    labelled = [split for split in splits if split.labels is not None]
    return [
        {
            "name": split.name,
            "classes": len(split.labels),
            "most": split.labels[:3],
            "least": split.labels[-3:],
        }
        for split in labelled
    ]


def describe_speed(run: Run) -> List[Fact]:
    speed = measure_speed(run)
    if speed is None:
        return []
    frames = run.section("task").get("target_length")
    facts = [
        Fact("updates per second", f"{speed.updates_per_second:.3g}", "median of the log lines"),
        Fact("in the slowest tenth", f"{speed.slow_updates_per_second:.3g}", "or less"),
        Fact("clips per update", f"{speed.clips_per_update:.0f}", "of all workers"),
        Fact("clips per second", f"{speed.clips_per_second:.3g}"),
    ]
    if frames:
        duration = as_duration(speed.clips_per_second * frames / 100)
        facts.append(Fact("sound", duration, "per second, padding included"))
    if speed.share_in_updates is not None:
        waiting = f"{100 * (1 - speed.share_in_updates):.0f} %"
        facts.append(Fact("waiting for data", waiting, "of the time, validation aside"))
    return facts


def describe_environment(run: Run) -> List[Fact]:
    if not run.starts:
        return []
    start = run.starts[-1]
    machine, versions = start["machine"], start["versions"]
    gpus = [f"{count} x {name}" for name, count in Counter(machine["gpus"]).items()]
    return [
        *(Fact(name, version) for name, version in versions.items()),
        Fact("platform", machine["platform"]),
        Fact("CPU", f"{machine['cpu']}, {machine['cores']} cores"),
        Fact("GPU", ", ".join(gpus) or "none"),
        Fact("workers", str(start["num_workers"])),
    ]


def describe_configuration(cfg: Mapping[str, Any]) -> List[Tuple[str, List[Tuple[str, str]]]]:
    """Sections with their keys and values, the ones that matter most first."""
    order = {name: place for place, name in enumerate(_SECTIONS)}
    sections = {name: values for name, values in cfg.items() if isinstance(values, Mapping)}
    return [
        (name, [(key, "null" if value is None else str(value)) for key, value in values.items()])
        for name, values in sorted(sections.items(), key=lambda item: order.get(item[0], 99))
        if values
    ]


def describe_probe(path: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    columns = ("encoder", "layer", "pooling", "method")
    rows = [
        [*(str(result[column]) for column in columns), _spread(values, result)]
        for result in values["results"]
    ]
    return {
        "path": path,
        "checkpoint": values["checkpoint"],
        "data": values["data"],
        "clips": values["num_clips"],
        "classes": values["num_classes"],
        "columns": [*columns, values["metric"]],
        "rows": rows,
    }


def _spread(values: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    mean = f"{result['mean']:.3f}"
    return f"{mean} ± {result['std']:.3f}" if values["num_folds"] > 1 else mean
