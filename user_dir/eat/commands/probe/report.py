"""What a probe found: as JSON, and as a table for people."""

import argparse
import json
import os
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from .clips import Clips

if TYPE_CHECKING:
    from eat.evaluation import Fold, Score

REPORT_NAME = "probe.json"

Result = Tuple[str, "Score"]  # with the name of the encoder


def make_report(
    args: argparse.Namespace,
    clips: Clips,
    folds: "Sequence[Fold]",
    results: "Sequence[Result]",
    failures: Dict[str, str],
) -> Dict[str, Any]:
    """Everything that was found, for JSON."""
    from eat.evaluation import metric_for

    options = ("test", "groups_from", "steps", "target_length", "weights", "seed")
    classifiers = ("regularisation", "neighbours")
    return {
        "checkpoint": args.checkpoint,
        "data": args.data,
        "splits": list(dict.fromkeys(clips.splits.tolist())),
        **{key: getattr(args, key) for key in (*options, *classifiers)},
        "metric": metric_for(clips.targets),
        "num_clips": len(clips.paths),
        "num_classes": int(clips.targets.any(axis=0).sum()),
        "num_folds": len(folds),
        "not_learnt": find_unlearnt(clips, folds),
        "failed": [{"path": path, "reason": reason} for path, reason in sorted(failures.items())],
        "results": [
            {"encoder": name, **score.source._asdict(), "method": score.method}
            | {"mean": score.mean, "std": score.std, "per_fold": score.per_fold}
            for name, score in results
        ],
    }


def find_unlearnt(clips: Clips, folds: "Sequence[Fold]") -> List[str]:
    """The classes that are tested somewhere without a clip to learn them from."""
    import numpy as np

    unlearnt = np.zeros(len(clips.classes), dtype=bool)
    for train, test in folds:
        unlearnt |= clips.targets[test].any(axis=0) & ~clips.targets[train].any(axis=0)
    return [clips.classes[index] for index in np.flatnonzero(unlearnt)]


def as_text(report: Dict[str, Any]) -> str:
    """A line on the data, and a table with a column for each method."""
    methods = list(dict.fromkeys(result["method"] for result in report["results"]))
    rows: Dict[Tuple[str, ...], Dict[str, str]] = {}
    for result in report["results"]:
        row = (result["encoder"], str(result["layer"]), result["pooling"])
        text = f"{result['mean']:.3f}"
        if report["num_folds"] > 1:
            text += f" ± {result['std']:.3f}"
        rows.setdefault(row, {})[result["method"]] = text
    table = [("encoder", "layer", "pooling", *methods)]
    table += [(*row, *(cells[method] for method in methods)) for row, cells in rows.items()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return "\n".join([*_describe(report), "", *lines])


def _describe(report: Dict[str, Any]) -> List[str]:
    if report["test"] is None:
        groups = report["groups_from"]
        way = f"mean ± standard deviation of {report['num_folds']} folds"
        way += f" that share no group of {groups}" if groups else ""
    else:
        way = f"tested on {report['test']}"
    counts = f"{report['num_clips']} clips of {report['num_classes']} classes"
    lines = [f"{report['data']}: {counts}; {report['metric']}, {way}"]
    if report["not_learnt"]:
        names = ", ".join(report["not_learnt"])
        lines.append(f"tested without a clip to learn from, in some fold: {names}")
    return lines


def write_report(folder: str, report: Dict[str, Any]) -> None:
    """Write probe.json; an existing one is replaced."""
    from eat.files import replace_file

    os.makedirs(folder, exist_ok=True)
    with replace_file(os.path.join(folder, REPORT_NAME)) as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
