"""`eat evaluate`: metrics of a fine-tuned checkpoint on labelled clips."""

import argparse
import csv
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from eat.machine import choose_device
from eat.work import show_progress

from .arguments import whole_number
from .devices import add_device_argument

if TYPE_CHECKING:
    import numpy as np

    from eat.data.labels import Label
    from eat.data.split import Split
    from eat.evaluation.classifier import Evaluation
    from eat.nn import Classifier

HELP = "metrics of a fine-tuned checkpoint on labelled clips"

DESCRIPTION = """\
Score all clips of DATA/SPLIT.tsv with a fine-tuned checkpoint, against the labels of DATA/SPLIT.lbl
and DATA/label_descriptors.csv. If every clip has one label, the metrics are accuracy, mAP and the
confusion matrix; else mAP, AUC and d-prime. They are those that the training logs of the same
checkpoint and clips.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat evaluate`."""
    parser.description = DESCRIPTION
    parser.add_argument("checkpoint", metavar="CKPT", help="a fine-tuned EAT checkpoint")
    parser.add_argument("--data", required=True, help="folder of the manifest and the labels")
    parser.add_argument(
        "--split", default="eval", help="which manifest of it (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        help="folder to write to: metrics.json, classes.csv with the average precision of each"
        " class and its figure, and confusion.csv with its figure if clips have one label",
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=32,
        help="clips in one pass (default: %(default)s)",
    )
    add_device_argument(parser)
    parser.add_argument("--json", action="store_true", help="print metrics.json, for programs")


def run(args: argparse.Namespace) -> int:
    """Print the metrics; 1 if some clips could not be read and were left out."""
    from eat.checkpoint import load_classifier
    from eat.data.split import open_split
    from eat.evaluation.classifier import evaluate_scores
    from eat.evaluation.metrics import require_scikit_learn

    require_scikit_learn()
    device = choose_device(args.device)
    classifier = load_classifier(args.checkpoint, device)
    split = open_split(args.data, args.split)
    check_classes(classifier, split.descriptors, args.checkpoint, args.data)
    scores, targets, failures = score_split(classifier, split, args.batch_size, device)
    evaluation = evaluate_scores(scores, targets, split.descriptors)
    report = make_report(args, evaluation, len(scores), failures)
    if args.out is not None:
        write_files(args.out, evaluation, report)
    print(json.dumps(report, indent=2) if args.json else as_text(report))
    for path, reason in failures:
        print(f"failed {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def check_classes(
    classifier: "Classifier", descriptors: "List[Label]", checkpoint: str, folder: str
) -> None:
    """Raise a ValueError unless the checkpoint's classes are those of the data, in their order."""
    from eat.data.labels import DESCRIPTORS_FILE, describe_difference

    num_classes = classifier.config.num_classes
    problem = describe_difference(num_classes, classifier.labels, descriptors)
    if problem is not None:
        raise ValueError(f"{checkpoint}: {problem} as in {os.path.join(folder, DESCRIPTORS_FILE)}")


def score_split(
    classifier: "Classifier", split: "Split", batch_size: int, device: str
) -> "Tuple[np.ndarray, np.ndarray, List[Tuple[str, str]]]":
    """Scores (N, C) and targets (N, C) of the clips that can be read, and (path, reason) of others.

    Raises:
        ValueError: none can be read.
    """
    import numpy as np

    from eat.evaluation.classifier import score_clips

    paths = [split.manifest.path(index) for index in range(len(split.manifest))]
    scores: Dict[int, Any] = {}
    failures: Dict[int, str] = {}
    for index, tokens, error in show_progress(
        score_clips(classifier, paths, batch_size, device),
        len(paths),
        "evaluating",
        failed=lambda result: result.error is not None,
    ):
        if error is None:
            scores[index] = tokens.numpy()
        else:
            failures[index] = str(error).removeprefix(f"{paths[index]}: ")
    if not scores:
        index, reason = next(iter(failures.items()))
        raise ValueError(
            f"{split.manifest.file}: no clip can be read, e.g. {paths[index]}: {reason}"
        )
    clips = sorted(scores)
    return (
        np.stack([scores[clip] for clip in clips]),
        np.stack([split.labels.targets(clip) for clip in clips]),
        [(paths[index], failures[index]) for index in sorted(failures)],
    )


def make_report(
    args: argparse.Namespace,
    evaluation: "Evaluation",
    num_clips: int,
    failures: List[Tuple[str, str]],
) -> Dict[str, Any]:
    """Everything that was found, for JSON."""
    confusion = evaluation.confusion
    return {
        "checkpoint": args.checkpoint,
        "data": args.data,
        "split": args.split,
        "num_clips": num_clips,
        "failed": [{"path": path, "reason": reason} for path, reason in failures],
        "metrics": evaluation.metrics,
        "classes_left_out": evaluation.left_out,
        "classes": evaluation.rows(),
        "confusion_matrix": None if confusion is None else confusion.tolist(),
    }


def as_text(report: Dict[str, Any]) -> str:
    """A short table."""
    lines = [f"{'clips':<10}{report['num_clips']}"]
    lines += [f"{name:<10}{value:.4f}" for name, value in report["metrics"].items()]
    left_out = report["classes_left_out"]
    if left_out:
        lines.append(
            f"{len(left_out)} of {len(report['classes'])} classes have no clip here and are left"
            f" out of mAP: {', '.join(left_out)}"
        )
    return "\n".join(lines)


def write_files(folder: str, evaluation: "Evaluation", report: Dict[str, Any]) -> None:
    """Write the report, the tables and the figures; files of these names are replaced."""
    from eat.figures import save_figure
    from eat.figures.classes import ClassResult, draw_classes
    from eat.figures.confusion import draw_confusion

    os.makedirs(folder, exist_ok=True)
    _write(folder, "metrics.json", json.dumps(report, indent=2) + "\n")
    rows = evaluation.rows()
    _write(folder, "classes.csv", _as_csv([list(rows[0]), *(list(row.values()) for row in rows)]))
    names = [label.name for label in evaluation.descriptors]
    columns = (names, evaluation.average_precisions, evaluation.num_positives)
    results = [ClassResult(*values) for values in zip(*columns, strict=True)]
    save_figure(draw_classes(results, report["split"]), os.path.join(folder, "classes"))
    if evaluation.confusion is not None:
        counts = zip(names, evaluation.confusion.tolist(), strict=True)
        table = [["", *names], *([name, *row] for name, row in counts)]
        _write(folder, "confusion.csv", _as_csv(table))
        figure = draw_confusion(evaluation.confusion, names)
        save_figure(figure, os.path.join(folder, "confusion"))


def _as_csv(rows: List[List[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # None becomes an empty field
    return text.getvalue()


def _write(folder: str, name: str, text: str) -> None:
    from eat.files import replace_file

    with replace_file(os.path.join(folder, name)) as file:
        file.write(text.encode())
