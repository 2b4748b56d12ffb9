"""`eat probe`: how much of the labels frozen features hold."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Dict, List, Optional, Tuple

from eat.evaluation import ProbeSettings

from .options import argument, option
from .shared import DeviceOption, LayersOption, TargetLengthOption, WeightsOption, print_failures


@dataclass(kw_only=True)
class Options(DeviceOption, LayersOption, TargetLengthOption, WeightsOption, ProbeSettings):
    """Fit classifiers to the frozen features of labelled clips and test them on other clips.

    A logistic regression and nearest neighbours learn from standardised features. They are
    cross-validated over all clips, or with --test tested on a split of its own. The same network
    with random weights is probed too: it is a strong baseline, and only what is above it was
    learnt. The metric is accuracy if every clip has one label, else mAP.
    """

    EXAMPLE: ClassVar[str] = "eat probe checkpoint_last.pt --data manifests/labelled --out probe"

    checkpoint: str = argument("any EAT checkpoint", metavar="CKPT")
    data: str = option("folder of the manifests and their labels")
    out: Optional[str] = option("folder to write probe.json to", None)
    json: bool = option("print probe.json instead of a table, for programs", False)


def run(options: Options) -> int:
    """Print the metrics; 1 if some clips could not be read and were left out."""
    from eat.evaluation import probe_checkpoint

    report = probe_checkpoint(options.checkpoint, options.data, options)
    if options.out is not None:
        report.write(options.out)
    values = report.as_dict()
    print(json.dumps(values, indent=2) if options.json else as_text(values))
    return print_failures(report.failures)


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
