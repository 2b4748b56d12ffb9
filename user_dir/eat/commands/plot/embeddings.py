"""`eat plot embeddings`: a map of clips, coloured by what they are."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence

import numpy as np

from eat.data.manifest import Manifest
from eat.data.sampling import draw_clips
from eat.data.split import open_split
from eat.features.storage import name_features
from eat.machine import choose_device
from eat.work import show_progress

from ..arguments import whole_number
from ..devices import add_device_argument
from .clips import add_target_length_argument
from .output import add_out_argument, write_figure

if TYPE_CHECKING:
    from eat.nn import Encoder

HELP = "map of a manifest's clips by their embeddings, coloured by label or folder"

DESCRIPTION = """\
Put the clips of a manifest on a plane, near each other if the encoder takes them as alike, and
colour them by label (of several the first) or by folder. The embeddings are computed with
--checkpoint, or taken from what `eat extract` wrote for the manifest, --features; of several tokens
the mean counts.
"""

# Spelled out, as importing them takes seconds; a test compares.
METHODS = ("pca", "tsne")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat plot embeddings`."""
    parser.description = DESCRIPTION
    parser.add_argument("manifest", metavar="MANIFEST", help="e.g. manifests/mine/valid.tsv")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", help="any EAT checkpoint, to compute the embeddings with")
    source.add_argument("--features", metavar="PATH", help="folder or file of `eat extract`")
    parser.add_argument(
        "--pooling",
        choices=("cls", "mean"),
        default="cls",
        help="with --checkpoint: the CLS token, or the mean of the patches (default: %(default)s)",
    )
    add_target_length_argument(parser, "every clip at its own length")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="pca",
        help="pca: directions of largest variance; tsne: neighbours stay together, distances mean"
        " little (default: %(default)s)",
    )
    parser.add_argument(
        "--by",
        choices=("label", "folder"),
        help="what to colour clips by (default: label if the manifest has a .lbl file)",
    )
    parser.add_argument(
        "--max-clips",
        type=whole_number(0),
        default=2000,
        help="clips to show, drawn at random; 0 shows all (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=1, help="of draw and t-SNE (default: %(default)s)"
    )
    add_device_argument(parser)
    add_out_argument(parser, default="embeddings")


def run(args: argparse.Namespace) -> int:
    """Draw the map; 1 if clips had to be left out."""
    from eat.checkpoint import load_encoder
    from eat.evaluation.metrics import require_scikit_learn
    from eat.figures.embeddings import draw_embeddings, map_embeddings

    require_scikit_learn()
    manifest = Manifest(args.manifest)
    clips = draw_clips(len(manifest), args.max_clips, args.seed).tolist()
    kinds = name_kinds(manifest, args.by)
    if args.features:
        vectors = read_vectors(args.features, manifest, clips)
    else:
        encoder = load_encoder(args.checkpoint, device=choose_device(args.device))
        vectors = embed(encoder, manifest, clips, args.pooling, args.target_length)
    shown = [clip for clip in clips if clip in vectors]
    embedding_map = map_embeddings(
        np.array([vectors[clip] for clip in shown]), args.method, args.seed
    )
    title = f"{len(shown)} clips of {args.manifest}"
    write_figure(draw_embeddings(embedding_map, [kinds[clip] for clip in shown], title), args)
    return 0 if len(shown) == len(clips) else 1


def name_kinds(manifest: Manifest, by: Optional[str] = None) -> List[str]:
    """What each clip is: by "label", its first one, or by "folder", see `name_folders`.

    None takes labels if the manifest has a .lbl file.

    Raises:
        FileNotFoundError, LabelError: as for `read_labels`.
    """
    folder, file = os.path.split(manifest.file)
    name = os.path.splitext(file)[0]
    has_labels = os.path.exists(os.path.join(folder, f"{name}.lbl"))
    if by == "folder" or (by is None and not has_labels):
        return name_folders(list(manifest.relative_paths()))
    _, descriptors, labels = open_split(folder, name)
    return [descriptors[labels.classes(clip)[0]].name for clip in range(len(labels))]


def name_folders(paths: Sequence[str]) -> List[str]:
    """The folder of each path, below the one that all are in."""
    folders = [os.path.dirname(path) or "." for path in paths]
    if len(set(folders)) == 1:
        return folders
    common = os.path.commonpath(folders)
    return [os.path.relpath(folder, common or ".") for folder in folders]


def embed(
    encoder: "Encoder",
    manifest: Manifest,
    clips: Sequence[int],
    pooling: str = "cls",
    target_length: Optional[int] = None,
) -> Dict[int, np.ndarray]:
    """Vectors (D,) of the clips that can be read; the others are named on stderr.

    Args:
        encoder: in evaluation mode.
        manifest: where the clips are.
        clips: their numbers.
        pooling: "cls", or "mean" of the patches.
        target_length: frames to pad or crop clips to; None: each at its own length.
    """
    from eat.features import Embedder, make_pipeline

    embedder = Embedder(encoder, "utterance" if pooling == "cls" else "frame")
    paths = [manifest.path(clip) for clip in clips]
    results = make_pipeline(encoder, target_length).run(paths, embedder)
    vectors = {}
    for index, tokens, error in show_progress(
        results, len(clips), "embedding", failed=lambda result: result.error is not None
    ):
        if error is None:
            vectors[clips[index]] = pool(tokens.numpy(), paths[index])
        else:
            print(f"left out {manifest.location(clips[index])}: {error}", file=sys.stderr)
    return vectors


def read_vectors(path: str, manifest: Manifest, clips: Sequence[int]) -> Dict[int, np.ndarray]:
    """Vectors (D,) of the clips that have features; the number of others goes to stderr."""
    from eat.features.storage import open_features

    arrays = open_features(path)
    names = {clip: name_features(manifest.relative_path(clip)) for clip in clips}
    found = {clip: name for clip, name in names.items() if name in arrays}
    if not found:
        raise ValueError(
            f"{path}: found no features of the clips of {manifest.file}, expected the OUT of"
            f" `eat extract {manifest.file} --out OUT`"
        )
    if len(found) < len(clips):
        print(f"left out {len(clips) - len(found)} clips without features", file=sys.stderr)
    return {clip: pool(arrays[name](), name) for clip, name in found.items()}


def pool(features: np.ndarray, name: str) -> np.ndarray:
    """(D,) of features (D,) or (N, D): the mean over tokens.

    Raises:
        ValueError: there is an axis of layers too.
    """
    if features.ndim > 2:
        raise ValueError(
            f"{name}: found features of shape {features.shape}, of several layers, expected those"
            " of one (`eat extract --layers`)"
        )
    return features if features.ndim == 1 else features.mean(axis=0)
