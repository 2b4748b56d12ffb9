"""`eat probe`: how much of the labels frozen features hold."""

import json
import os
from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Optional, Tuple

from eat.evaluation import ProbeSettings
from eat.files import write_file
from eat.work import Failure

from .options import argument, option
from .shared import CHECKPOINT, CheckpointOptions, print_failures


@dataclass(kw_only=True)
class Options(CheckpointOptions, ProbeSettings):
    """Fit classifiers to the frozen features of labelled clips and test them on other clips.

    A logistic regression and nearest neighbours learn from standardised features. They are
    cross-validated over all clips, or with --test tested on a split of its own. The same network
    with random weights is probed too: it is a strong baseline, and only what is above it was
    learnt. The metric is accuracy if every clip has one label, else mAP. With --methods attentive
    gated it is also said in which layers and tokens the labels are.
    """

    EXAMPLE: ClassVar[str] = "eat probe checkpoint_last.pt --data manifests/labelled --out probe"

    checkpoint: str = argument(CHECKPOINT, metavar="CKPT")
    data: str = option("folder of the manifests and their labels")
    out: Optional[str] = option(
        "folder to write probe.json to, and the figure `layers` of attentive and gated", None
    )
    json: bool = option("print probe.json instead of a table, for programs", False)


def run(options: Options) -> int:
    """Print the metrics; 1 if some clips could not be read and were left out."""
    from eat.evaluation import probe_checkpoint

    report = probe_checkpoint(options.checkpoint, options.data, options)
    text = json.dumps(report, indent=2)
    print(text if options.json else as_text(report))
    if options.out is not None:
        write_file(os.path.join(options.out, "probe.json"), f"{text}\n".encode())
        if any("where" in result for result in report["results"]):
            from eat.figures import draw_where, save_figure

            save_figure(draw_where(report), os.path.join(options.out, "layers"))
    return print_failures(Failure(**failure) for failure in report["failed"])


def as_text(report: Dict[str, Any]) -> str:
    """A line on the data, and a table with a column for each method."""
    way = f"tested on {report['test']}"
    if report["test"] is None:
        groups = report["groups_from"]
        way = f"mean ± standard deviation of {report['num_folds']} folds"
        way += f" that share no group of {groups}" if groups else ""
    counts = f"{report['num_clips']} clips of {report['num_classes']} classes"
    lines = [f"{report['data']}: {counts}; {report['metric']}, {way}"]
    if report["not_learnt"]:
        names = ", ".join(report["not_learnt"])
        lines.append(f"tested without a clip to learn from, in some fold: {names}")
    rows: Dict[Tuple[str, ...], Dict[str, str]] = {}
    for result in report["results"]:
        row = (result["encoder"], str(result["layer"]), result["pooling"])
        deviation = f" ± {result['std']:.3f}" if report["num_folds"] > 1 else ""
        rows.setdefault(row, {})[result["method"]] = f"{result['mean']:.3f}{deviation}"
    methods = [*dict.fromkeys(result["method"] for result in report["results"])]
    table = [("encoder", "layer", "pooling", *methods)]
    table += [(*row, *(cells.get(name, "") for name in methods)) for row, cells in rows.items()]
    lines.append("")
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, "", *report["conclusions"]]).rstrip()
