"""`eat probe`: how much of the labels frozen features hold."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Dict, Iterator, List, Sequence, Tuple

from eat.data.sampling import draw_clips
from eat.machine import choose_device
from eat.work import show_progress

from .arguments import HELP, METHODS, POOLINGS, add_arguments
from .clips import Clips, find_groups, find_splits, read_clips
from .report import Result, as_text, make_report, write_report

if TYPE_CHECKING:
    from eat.evaluation import ClipVectors, Fold, Score
    from eat.nn import Encoder

__all__ = ["HELP", "METHODS", "POOLINGS", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Print the metrics; 1 if some clips could not be read and were left out."""
    from eat.evaluation.metrics import require_scikit_learn

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


def open_encoders(args: argparse.Namespace) -> "Iterator[Tuple[str, Encoder]]":
    """The trained encoder, then the untrained ones, and what to call them."""
    from eat.checkpoint import load_encoder
    from eat.evaluation import untrained_like

    encoder = load_encoder(args.checkpoint, args.weights, choose_device(args.device))
    yield args.checkpoint, encoder
    for seed in range(args.seed, args.seed + args.untrained):
        yield f"untrained (seed {seed})", untrained_like(encoder, seed)


def embed(
    args: argparse.Namespace, encoder: "Encoder", paths: Sequence[str], name: str
) -> "ClipVectors":
    """Vectors of the clips that can be read."""
    from eat.evaluation import embed_clips

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
            failed=lambda result: result.error is not None,
        ),
    )


def choose_folds(args: argparse.Namespace, clips: Clips) -> "List[Fold]":
    """What to learn from and what to test on.

    Raises:
        ValueError: no such split, or nothing to learn from or to test on.
    """
    import numpy as np

    from eat.evaluation import Fold, make_folds

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


def score_all(
    args: argparse.Namespace,
    vectors: "ClipVectors",
    clips: Clips,
    folds: "Sequence[Fold]",
    name: str,
) -> "Iterator[Score]":
    """Fit and test every method on every kind of vector."""
    from eat.evaluation import Probe, score_vectors

    probes = [Probe(method, args.regularisation, args.neighbours) for method in args.methods]
    scores = score_vectors(vectors, clips.targets, folds, probes)
    total = len(probes) * len(vectors.values)
    return show_progress(scores, total, f"fitting, {os.path.basename(name)}", "probe")
