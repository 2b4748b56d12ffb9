"""`eat evaluate`: metrics of a fine-tuned checkpoint on labelled clips."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

from eat.features import BATCH_SIZE, DeviceOption

from .options import argument, option
from .shared import CHECKPOINT, LabelsOption, print_failures


@dataclass(kw_only=True)
class Options(DeviceOption, LabelsOption):
    """Score the labelled clips of a split with a fine-tuned checkpoint.

    The clips are those of DATA/SPLIT.tsv, their labels those of DATA/SPLIT.lbl and
    DATA/label_descriptors.csv. If every clip has one label, the metrics are accuracy, mAP and the
    confusion matrix; else mAP, AUC and d-prime. They are those that the training logs of the same
    checkpoint and clips.

    A checkpoint with labels in time scores whole recordings, whose events are those of
    DATA/SPLIT.events.tsv: mAP of the steps, event- and segment-based F1, PSDS.
    """

    EXAMPLE: ClassVar[str] = "eat evaluate checkpoint_best.pt --data manifests/birds --split valid"

    checkpoint: str = argument(f"{CHECKPOINT}; fine-tuned", metavar="CKPT")
    data: str = option("folder of the manifest and the labels")
    split: str = option("which manifest of the folder", "eval")
    out: Optional[str] = option(
        "folder to write to: metrics.json; classes.csv with the average precision of each class and"
        " its positives (clips, or with labels in time steps), and its figure; and confusion.csv"
        " with its figure if clips have one label",
        None,
    )
    tune_split: str = option(
        "with labels in time: the split on which the threshold of each class and the median filter"
        " are chosen. OUT/thresholds.json holds them, for `eat tag --timeline --threshold`",
        "valid",
        metavar="SPLIT",
    )
    batch_size: int = option("clips in one pass", BATCH_SIZE, at_least=1)
    json: bool = option("print metrics.json instead of a table, for programs", False)


def run(options: Options) -> int:
    """Print the metrics; 1 if some clips could not be read and were left out."""
    from eat.evaluation import evaluate_checkpoint

    names = ("data", "split", "batch_size", "device", "tune_split")
    settings = {name: getattr(options, name) for name in names}
    evaluation = evaluate_checkpoint(options.checkpoint, **settings)
    print(json.dumps(evaluation.as_dict(), indent=2) if options.json else _as_text(evaluation))
    if options.out is not None:
        evaluation.write(options.out)
    return print_failures(evaluation.failures)


def _as_text(evaluation: Any) -> str:
    """A line for each metric, and the classes that some leave out."""
    lines = [f"{'clips':<9} {evaluation.num_clips}"]
    lines += [f"{name:<9} {value:.4f}" for name, value in evaluation.metrics.items()]
    left_out = evaluation.left_out
    if left_out:
        what = "clip" if evaluation.event_metrics is None else "step"
        lines.append(
            f"{len(left_out)} of {len(evaluation.descriptors)} classes have no {what} here and are"
            f" left out of mAP: {', '.join(left_out)}"
        )
    if evaluation.never_found:
        lines.append(f"never found with these thresholds: {', '.join(evaluation.never_found)}")
    return "\n".join(lines)
