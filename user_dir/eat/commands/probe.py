"""`eat probe`: how much of the labels frozen features hold."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from .arguments import add_encoder_arguments, number, whole_number
from .devices import add_device_argument, choose_device
from .evaluate import open_split
from .extract import layers
from .manifest.annotations import Columns, annotate, read_table
from .progress import show_progress
from .stats import draw_clips

if TYPE_CHECKING:
    import numpy as np

    from ..nn import Encoder
    from ..probing import ClipVectors, Fold, Score

HELP = "what can be read from the frozen features of labelled clips, against an untrained encoder"

DESCRIPTION = """\
Fit a logistic regression and nearest neighbours to the frozen features of labelled clips,
standardised, and test them on other clips: cross-validated over all clips, or with --test on a
split of its own. The same network with random weights is probed too: it is a strong baseline, and
only what is above it was learnt. The metric is accuracy if every clip has one label, else mAP.
"""

SPLITS = ("train", "valid", "eval", "test")
# Spelled out, as importing them takes seconds; a test compares.
POOLINGS = ("cls", "mean", "time")
METHODS = ("logistic", "knn")
REPORT_NAME = "probe.json"

Result = Tuple[str, "Score"]  # with the name of the encoder


class Clips(NamedTuple):
    """Labelled clips of one or more splits."""

    root: str  # of the first split
    paths: List[str]
    names: List[str]  # their paths below the root
    splits: "np.ndarray"  # (N,) names of the splits they are of
    targets: "np.ndarray"  # (N, C) uint8, 1 at the classes of a clip
    classes: List[str]

    def select(self, indices: "np.ndarray") -> "Clips":
        """Some of the clips."""
        return Clips(
            self.root,
            [self.paths[index] for index in indices],
            [self.names[index] for index in indices],
            self.splits[indices],
            self.targets[indices],
            self.classes,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat probe`."""
    parser.description = DESCRIPTION
    parser.add_argument("checkpoint", metavar="CKPT", help="any EAT checkpoint")
    parser.add_argument("--data", required=True, help="folder of the manifests and their labels")
    _add_fold_arguments(parser)
    _add_feature_arguments(parser)
    _add_classifier_arguments(parser)
    parser.add_argument(
        "--untrained",
        type=whole_number(0),
        default=1,
        metavar="N",
        help="untrained encoders to compare with, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        default=1,
        help="of draws, folds and the first untrained encoder; the next one's is one higher"
        " (default: %(default)s)",
    )
    add_device_argument(parser)
    parser.add_argument("--out", help="folder to write probe.json to")
    parser.add_argument("--json", action="store_true", help="print probe.json, for programs")


def _add_fold_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--splits",
        nargs="+",
        metavar="SPLIT",
        help=f"manifests to use (default: those of {', '.join(SPLITS)} that have labels)",
    )
    parser.add_argument(
        "--max-clips",
        type=whole_number(0),
        default=0,
        help="clips to use, drawn at random; 0 uses all (default: %(default)s)",
    )
    parser.add_argument(
        "--test",
        metavar="SPLIT",
        help="test on this one of them, learning from the others (default: cross-validation)",
    )
    parser.add_argument(
        "--folds",
        type=whole_number(2),
        default=5,
        help="of cross-validation (default: %(default)s)",
    )
    parser.add_argument(
        "--groups-from",
        metavar="SOURCE",
        help="what must not be on both sides, such as a speaker: parent, the folder of a clip;"
        " regex:PATTERN, what its parentheses match in the path of a clip below the root; csv:FILE,"
        " the column `group` of a table (default: every clip is for itself)",
    )


def _add_feature_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pooling",
        nargs="+",
        choices=POOLINGS,
        default=POOLINGS,
        help="cls: the CLS token; mean: of the patches; time: the patches averaged over frequency,"
        " and over time to --steps steps, one after the other (default: all)",
    )
    parser.add_argument(
        "--steps", type=whole_number(1), default=8, help="of time (default: %(default)s)"
    )
    parser.add_argument(
        "--layers",
        type=layers,
        default="last",
        help="last; all or numbers of blocks from 1 such as 3,6,9, each for itself; mean of all"
        " (default: %(default)s)",
    )
    add_encoder_arguments(parser)


def _add_classifier_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=METHODS, help="(default: both)"
    )
    parser.add_argument(
        "--regularisation",
        type=number(1e-9, float("inf")),
        default=0.1,
        metavar="C",
        help="of the logistic regression; smaller is stronger (default: %(default)s)",
    )
    parser.add_argument(
        "--neighbours", type=whole_number(1), default=10, help="by cosine (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the metrics; 1 if some clips could not be read and were left out."""
    from ..metrics import require_scikit_learn

    require_scikit_learn()
    clips = read_clips(args.data, args.splits or find_splits(args.data))
    clips = clips.select(draw_clips(len(clips.paths), args.max_clips, args.seed))
    results: List[Result] = []
    failures: Dict[str, str] = {}
    for name, encoder in open_encoders(args):
        vectors = embed(args, encoder, clips.paths, name)
        for index, error in vectors.errors.items():
            failures[clips.paths[index]] = str(error).removeprefix(f"{clips.paths[index]}: ")
        readable = clips.select(vectors.clips)
        folds = choose_folds(args, readable)
        results += [(name, score) for score in score_all(args, vectors, readable, folds, name)]
    report = make_report(args, readable, folds, results, failures)
    if args.out is not None:
        write_report(args.out, report)
    print(json.dumps(report, indent=2) if args.json else as_text(report))
    for path, reason in sorted(failures.items()):
        print(f"failed {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def find_splits(folder: str) -> List[str]:
    """The splits that have labels.

    Raises:
        FileNotFoundError: none has.
    """
    found = [name for name in SPLITS if os.path.exists(os.path.join(folder, f"{name}.lbl"))]
    if not found:
        raise FileNotFoundError(
            f"{folder}: found none of {', '.join(f'{name}.lbl' for name in SPLITS)}, expected"
            " labels beside the manifests (`eat manifest folder DIR --labels-from parent` takes"
            " them from the names of folders; there are more ways)"
        )
    return found


def read_clips(folder: str, splits: Sequence[str]) -> Clips:
    """The labelled clips of some splits.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a bad line.
    """
    import numpy as np

    paths: List[str] = []
    names: List[str] = []
    targets = []
    opened = [open_split(folder, name) for name in splits]
    for manifest, _, labels in opened:
        paths += [manifest.path(index) for index in range(len(manifest))]
        names += manifest.relative_paths()
        targets += [labels.targets(index).astype(np.uint8) for index in range(len(labels))]
    of_split = np.repeat(splits, [len(split.manifest) for split in opened])
    classes = [label.name for label in opened[0].descriptors]
    return Clips(opened[0].manifest.root, paths, names, of_split, np.stack(targets), classes)


def open_encoders(args: argparse.Namespace) -> "Iterator[Tuple[str, Encoder]]":
    """The trained encoder, then the untrained ones, and what to call them."""
    from ..checkpoint import load_encoder
    from ..probing import untrained_like

    encoder = load_encoder(args.checkpoint, args.weights, choose_device(args.device))
    yield args.checkpoint, encoder
    for seed in range(args.seed, args.seed + args.untrained):
        yield f"untrained (seed {seed})", untrained_like(encoder, seed)


def embed(
    args: argparse.Namespace, encoder: "Encoder", paths: Sequence[str], name: str
) -> "ClipVectors":
    """Vectors of the clips that can be read."""
    from ..probing import embed_clips

    return embed_clips(
        encoder,
        paths,
        args.pooling,
        args.layers,
        args.steps,
        args.target_length,
        watch=lambda results: show_progress(
            results,
            len(paths),
            f"embedding, {os.path.basename(name)}",
            is_problem=lambda result: result.error is not None,
        ),
    )


def choose_folds(args: argparse.Namespace, clips: Clips) -> "List[Fold]":
    """What to learn from and what to test on.

    Raises:
        ValueError: no such split, or nothing to learn from or to test on.
    """
    import numpy as np

    from ..probing import Fold, make_folds

    if args.test is None:
        groups = None if args.groups_from is None else find_groups(args.groups_from, clips)
        return make_folds(clips.targets, groups, args.folds, args.seed)
    is_tested = clips.splits == args.test
    if is_tested.all() or not is_tested.any():
        raise ValueError(
            f"--test: found the splits {', '.join(dict.fromkeys(clips.splits))}, expected"
            f" {args.test} and another to learn from"
        )
    return [Fold(np.flatnonzero(~is_tested), np.flatnonzero(is_tested))]


def find_groups(source: str, clips: Clips) -> List[str]:
    """The group of each clip.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a bad source or table, or a clip without exactly one group.
    """
    from ..probing import groups_from

    kind, _, file = source.partition(":")
    if kind != "csv":
        return groups_from(source, clips.names)
    rows = read_table(file, Columns(label="group", separator=""))
    groups = annotate(rows, clips.root, clips.names).labels
    for name in clips.names:
        found = sorted(set(groups.get(name, [])))
        if len(found) != 1:
            raise ValueError(f"{file}: found {found or 'no group'} of {name!r}, expected one group")
    return [groups[name][0] for name in clips.names]


def score_all(
    args: argparse.Namespace,
    vectors: "ClipVectors",
    clips: Clips,
    folds: "Sequence[Fold]",
    name: str,
) -> "Iterator[Score]":
    """Fit and test every method on every kind of vector."""
    from ..probing import Probe, score_vectors

    probes = [Probe(method, args.regularisation, args.neighbours) for method in args.methods]
    scores = score_vectors(vectors, clips.targets, folds, probes)
    total = len(probes) * len(vectors.values)
    return show_progress(scores, total, f"fitting, {os.path.basename(name)}", "probe")


def make_report(
    args: argparse.Namespace,
    clips: Clips,
    folds: "Sequence[Fold]",
    results: "Sequence[Result]",
    failures: Dict[str, str],
) -> Dict[str, Any]:
    """Everything that was found, for JSON."""
    from ..probing import metric_for

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
    from ..files import replace_file

    os.makedirs(folder, exist_ok=True)
    with replace_file(os.path.join(folder, REPORT_NAME)) as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
