"""`eat plot`: figures of training runs, clips, masks and checkpoints, as PNG and SVG."""

import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Dict, List, Optional, Sequence

from eat.figures import MAPPING_METHODS

from .options import argument, option
from .shared import DeviceOption, TargetLengthOption, WeightsOption, print_failures


def _out(default: str) -> Any:
    return option("write PATH.png and PATH.svg, in place of existing ones", default, metavar="PATH")


@dataclass(kw_only=True)
class _ClipOptions:
    file: str = argument("audio file, of any format", metavar="FILE")
    start_seconds: float = option("where in the file the part to show starts", 0.0, at_least=0)
    target_length: Optional[int] = option(
        "frames of 10 ms, a multiple of 16, that the clip is padded or cut to as in training"
        " (default: that of --checkpoint in `clip`; else the file's own length, at most 1024)",
        None,
        at_least=1,
        metavar="FRAMES",
    )

    @property
    def title(self) -> str:
        return f"{self.file} from {self.start_seconds:g} s" if self.start_seconds else self.file


@dataclass(kw_only=True)
class _MaskOptions:
    checkpoint: Optional[str] = option(
        "a pre-training checkpoint with the settings of masks and the length of clips"
        " (default: those of pretrain_base)",
        None,
    )
    mask_ratio: Optional[float] = option(
        "share of the patches that are hidden", None, at_least=0, below=1
    )
    mask_ratio_adjust: Optional[float] = option(
        "added to the visible share when blocks are counted", None, at_least=0, below=1
    )
    seed: int = option("seed of the masks", 1, at_least=0)


@dataclass(kw_only=True)
class Attention(_ClipOptions, WeightsOption, DeviceOption):
    """Draw what the CLS token of a block attends to in a recording.

    Below the spectrogram: how one block's CLS token spreads its attention over the patches, the
    mean over heads and each head.
    """

    EXAMPLE: ClassVar[str] = "eat plot attention dog.flac --checkpoint EAT-base_epoch30_pt.pt"

    checkpoint: str = option("any EAT checkpoint")
    layer: Optional[int] = option(
        "number of the block, from 1 (default: the last)", None, at_least=1
    )
    out: str = _out("attention")


def plot_attention(options: Attention) -> int:
    """Draw the attention of one block."""
    from eat.checkpoint import load_encoder
    from eat.figures import draw_layer, read_clip
    from eat.machine import choose_device

    encoder = load_encoder(options.checkpoint, options.weights, choose_device(options.device))
    front_end = encoder.log_mel
    source = read_clip(options.file, front_end, options.start_seconds, options.target_length)
    return _write(draw_layer(encoder, source, front_end, options.title, options.layer), options.out)


@dataclass(kw_only=True)
class Classes:
    """Draw the average precision of each class, from the table of `eat evaluate`.

    As bars (of more than 60 classes the best and the worst 25) and against the number of clips
    with the class.
    """

    EXAMPLE: ClassVar[str] = "eat plot classes evaluation/classes.csv"

    table: str = argument(
        "columns label, average_precision and num_positives, as `eat evaluate` writes them",
        metavar="CSV",
    )
    out: str = _out("classes")


def plot_classes(options: Classes) -> int:
    """Draw the classes of a table."""
    from eat.figures import draw_classes, read_class_results

    return _write(draw_classes(read_class_results(options.table), options.table), options.out)


@dataclass(kw_only=True)
class Clip(_ClipOptions, _MaskOptions):
    """Draw spectrogram and patches of a recording, and what the student sees of it.

    Below the log-mel spectrogram with its grid of patches: several differently masked clones.
    """

    EXAMPLE: ClassVar[str] = "eat plot clip dog.flac --checkpoint EAT-base_epoch30_pt.pt"

    mask_block_size: Optional[int] = option(
        "side of a visible block", None, at_least=1, metavar="PATCHES"
    )
    num_clones: int = option("clones to show", 4, at_least=1)
    out: str = _out("clip")


def plot_clip(options: Clip) -> int:
    """Draw one recording."""
    from eat.figures import draw_clip, mask_clip, read_clip, training_settings

    names = ("mask_ratio", "mask_ratio_adjust", "mask_block_size", "num_clones")
    given = {name: getattr(options, name) for name in names}
    masking, front_end = training_settings(options.checkpoint, **given)
    source = read_clip(options.file, front_end, options.start_seconds, options.target_length)
    masks = mask_clip(source, masking, front_end.patch_size, options.seed)
    return _write(draw_clip(source, masks, front_end, options.title), options.out)


@dataclass(kw_only=True)
class Curves:
    """Draw losses, variances, learning rate and metrics over the updates of training runs.

    One panel per quantity that was logged: losses, metrics of validation, learning rate, the
    spread of targets and predictions (near 0 means collapse), the gradient's norm, and the
    teacher's decay. Several runs are drawn over each other.
    """

    EXAMPLE: ClassVar[str] = "eat plot curves checkpoints/first checkpoints/second"

    runs: List[str] = argument(
        "a run's folder (its checkpoint.save_dir), or a file with what it printed", metavar="RUN"
    )
    out: str = _out("curves")


def plot_curves(options: Curves) -> int:
    """Draw the curves of all runs."""
    from eat.figures import draw_curves
    from eat.training.run import find_log, read_training_log

    runs = _name_runs(options.runs)
    logs = {name: read_training_log(find_log(path)) for name, path in runs.items()}
    return _write(draw_curves(logs), options.out)


@dataclass(kw_only=True)
class Embeddings(TargetLengthOption, DeviceOption):
    """Draw a map of a manifest's clips by their embeddings, coloured by label or folder.

    Clips are near each other if the encoder takes them as alike. The embeddings are computed with
    --checkpoint, or taken from what `eat extract` wrote for the manifest, --features; several
    tokens of a clip are averaged. A clip of several labels has the colour of the first one.
    """

    EXAMPLE: ClassVar[str] = "eat plot embeddings manifests/mine/valid.tsv --features features"

    manifest: str = argument("e.g. manifests/mine/valid.tsv", metavar="MANIFEST")
    checkpoint: Optional[str] = option(
        "any EAT checkpoint, to compute the embeddings with", None, one_of="source"
    )
    features: Optional[str] = option(
        "folder or file of `eat extract`", None, metavar="PATH", one_of="source"
    )
    pooling: str = option(
        "with --checkpoint: the CLS token, or the mean of the patches",
        "cls",
        choices=("cls", "mean"),
    )
    method: str = option(
        "pca: directions of largest variance; tsne: neighbours stay together, distances mean"
        " little",
        "pca",
        choices=MAPPING_METHODS,
    )
    by: Optional[str] = option(
        "what to colour clips by (default: label if the manifest has a .lbl file)",
        None,
        choices=("label", "folder"),
    )
    max_clips: int = option("clips to show, drawn at random; 0 shows all", 2000, at_least=0)
    seed: int = option("seed of the draw and of t-SNE", 1, at_least=0)
    out: str = _out("embeddings")


def plot_embeddings(options: Embeddings) -> int:
    """Draw the map; 1 if clips had to be left out."""
    from eat.checkpoint import load_encoder
    from eat.data.manifest import Manifest
    from eat.data.sampling import draw_clips
    from eat.figures import draw_map, embed_manifest, name_kinds, read_vectors
    from eat.machine import choose_device

    manifest = Manifest(options.manifest)
    clips = draw_clips(len(manifest), options.max_clips, options.seed).tolist()
    kinds = name_kinds(manifest, options.by)
    if options.features is not None:
        vectors, failures = read_vectors(options.features, manifest, clips)
    else:
        encoder = load_encoder(options.checkpoint, device=choose_device(options.device))
        pooling, length = options.pooling, options.target_length
        vectors, failures = embed_manifest(encoder, manifest, clips, pooling, length)
    figure = draw_map(vectors, kinds, options.manifest, options.method, options.seed)
    return max(_write(figure, options.out), print_failures(failures))


@dataclass(kw_only=True)
class Masks(_MaskOptions):
    """Draw what settings of masks do: how much the visible blocks hold, and where they lie.

    Many clones are drawn and counted: the patches in their blocks, before random ones are shown or
    hidden to make the number equal in all, and how often each patch of the grid is in a block.
    Several sizes of blocks are drawn below each other.
    """

    EXAMPLE: ClassVar[str] = "eat plot masks --mask-block-size 3 5 8"

    mask_block_size: Optional[List[int]] = option(
        "sides of visible blocks", None, at_least=1, metavar="PATCHES"
    )
    target_length: Optional[int] = option(
        "frames of 10 ms per clip, a multiple of 16 (default: the checkpoint's, or 1024)",
        None,
        at_least=1,
        metavar="FRAMES",
    )
    num_draws: int = option("clones to draw", 10_000, at_least=1)
    out: str = _out("masks")


def plot_masks(options: Masks) -> int:
    """Measure and draw all settings."""
    from eat.figures import MAX_FRAMES, draw_masks, examine_masks, training_settings

    given = {"mask_ratio": options.mask_ratio, "mask_ratio_adjust": options.mask_ratio_adjust}
    masking, front_end = training_settings(options.checkpoint, **given)
    length = options.target_length or front_end.target_length or MAX_FRAMES
    replace(front_end, target_length=length)  # refuses impossible ones
    grid = length // front_end.patch_size, front_end.num_mel_bins // front_end.patch_size
    settings = []
    for size in options.mask_block_size or [masking.mask_block_size]:
        config = replace(masking, mask_block_size=size)
        settings.append(examine_masks(config, grid, options.num_draws, options.seed))
    for setting in settings:
        counts = setting.counts
        print(
            f"{setting.name}: {setting.num_visible} of {setting.coverage.size} patches visible\n"
            f"  patches in blocks ({setting.num_blocks} drawn): {counts.mean():.1f} +-"
            f" {counts.std():.1f}, from {counts.min()} to {counts.max()}\n"
            f"  {100 * setting.share_below:.1f} % of the clones have fewer than visible and show"
            f" {setting.mean_added:.1f} more on average; those with more hide"
            f" {setting.mean_removed:.1f}"
        )
    return _write(draw_masks(settings), options.out)


ACTIONS = {
    "attention": (Attention, plot_attention),
    "classes": (Classes, plot_classes),
    "clip": (Clip, plot_clip),
    "curves": (Curves, plot_curves),
    "embeddings": (Embeddings, plot_embeddings),
    "masks": (Masks, plot_masks),
}


def _name_runs(paths: Sequence[str]) -> Dict[str, str]:
    """Runs by the shortest ends of their paths that tell them apart.

    Raises:
        ValueError: one is given twice.
    """
    parts = [os.path.abspath(path).split(os.sep) for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    raise ValueError(f"found a run twice among {', '.join(paths)}, expected different ones")


def _write(figure: Any, path: str) -> int:
    """Save a figure and say where it is; returns the exit status 0."""
    from eat.figures import save_figure

    print(*save_figure(figure, path), sep="\n")
    return 0
