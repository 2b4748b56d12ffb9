"""`eat plot`: figures of training runs, clips, masks and checkpoints, as PNG and SVG."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, List, Optional

import eat
from eat import figures
from eat.features import DeviceOption, TargetLengthOption, WeightsOption
from eat.machine import choose_device

from .options import argument, option
from .shared import CHECKPOINT, CheckpointOptions, print_failures


def _out(default: str) -> Any:
    return option("write PATH.png and PATH.svg, in place of existing ones", default, metavar="PATH")


def _count(help_text: str, unit: str) -> Any:
    return option(help_text, None, at_least=1, metavar=unit)


@dataclass(kw_only=True)
class _ClipOptions:
    file: str = argument("audio file, of any format", metavar="FILE")
    start_seconds: float = option("where in the file the part to show starts", 0.0, at_least=0)
    target_length: Optional[int] = _count(
        "frames of 10 ms, a multiple of 16, that the clip is padded or cut to as in training"
        " (default: that of --checkpoint in `clip`; else the file's own length, at most 1024)",
        "FRAMES",
    )

    @property
    def title(self) -> str:
        return f"{self.file} from {self.start_seconds:g} s" if self.start_seconds else self.file


@dataclass(kw_only=True)
class _MaskOptions(CheckpointOptions):
    checkpoint: Optional[str] = option(
        "pre-training checkpoint with masks and length of clips (default: pretrain_base's)", None
    )
    mask_ratio: Optional[float] = option("share of hidden patches", None, at_least=0, below=1)
    mask_ratio_adjust: Optional[float] = option(
        "share of the patches that is added to the visible ones when blocks are counted",
        None,
        at_least=0,
        below=1,
    )
    seed: int = option("seed of the masks", 1, at_least=0)


@dataclass(kw_only=True)
class Attention(_ClipOptions, CheckpointOptions, WeightsOption, DeviceOption):
    """Draw what the CLS token of a block attends to in a recording.

    Below the spectrogram: how its attention spreads over the patches, mean over heads and each.
    """

    EXAMPLE: ClassVar[str] = "eat plot attention dog.flac --checkpoint EAT-base_epoch30_pt.pt"

    checkpoint: str = option(CHECKPOINT)
    layer: Optional[int] = _count("number of the block, from 1 (default: the last)", "LAYER")
    out: str = _out("attention")

    def plot(self) -> int:
        """Draw the attention of one block."""
        from eat.figures.network import read_clip

        encoder = eat.load_encoder(self.checkpoint, self.weights, choose_device(self.device))
        log_mel = encoder.log_mel
        source = read_clip(self.file, log_mel, self.start_seconds, self.target_length)
        figure = figures.draw_layer(encoder, source, log_mel, self.title, self.layer)
        return _write(figure, self.out)


@dataclass(kw_only=True)
class Classes:
    """Draw the average precision of each class, from the table of `eat evaluate`.

    As bars (of more than 60 classes the best and worst 25), and against their numbers of positives:
    clips, or steps of a classifier with labels in time.
    """

    EXAMPLE: ClassVar[str] = "eat plot classes evaluation/classes.csv"

    table: str = argument(
        "classes.csv of `eat evaluate`: label, average_precision, num_positives", metavar="CSV"
    )
    out: str = _out("classes")

    def plot(self) -> int:
        """Draw the classes of a table."""
        results = figures.read_class_results(self.table)
        return _write(figures.draw_classes(results, self.table), self.out)


@dataclass(kw_only=True)
class Clip(_ClipOptions, _MaskOptions):
    """Draw spectrogram and patches of a recording, and what the student sees of it.

    Below the log-mel spectrogram with its grid of patches: several differently masked clones.
    """

    EXAMPLE: ClassVar[str] = "eat plot clip dog.flac --checkpoint EAT-base_epoch30_pt.pt"

    mask_block_size: Optional[int] = _count("side of a visible block", "PATCHES")
    num_clones: int = option("clones to show", 4, at_least=1)
    out: str = _out("clip")

    def plot(self) -> int:
        """Draw one recording."""
        from eat.figures.network import mask_clip, read_clip, training_settings

        names = ("mask_ratio", "mask_ratio_adjust", "mask_block_size", "num_clones")
        given = {name: getattr(self, name) for name in names}
        masking, log_mel = training_settings(self.checkpoint, **given)
        source = read_clip(self.file, log_mel, self.start_seconds, self.target_length)
        masks = mask_clip(source, masking, log_mel.patch_size, self.seed)
        return _write(figures.draw_clip(source, masks, log_mel, self.title), self.out)


@dataclass(kw_only=True)
class Curves:
    """Draw losses, variances, learning rate and metrics over the updates of training runs.

    One panel per quantity that was logged: losses, metrics of validation, learning rate, the
    spread of targets and predictions (near 0 means collapse), the gradient's norm, and the
    teacher's decay. Several runs are drawn over each other, and the figure says by how much their
    losses differ from those of the first.
    """

    EXAMPLE: ClassVar[str] = "eat plot curves checkpoints/first checkpoints/second"

    runs: List[str] = argument(
        "a run's folder (its checkpoint.save_dir), or a file with what it printed", metavar="RUN"
    )
    out: str = _out("curves")

    def plot(self) -> int:
        """Draw the curves of all runs."""
        from eat.training.run import name_runs, read_training_log

        logs = {name: read_training_log(path) for name, path in name_runs(self.runs).items()}
        return _write(figures.draw_curves(logs), self.out)


@dataclass(kw_only=True)
class Embeddings(CheckpointOptions, TargetLengthOption, DeviceOption):
    """Draw a map of a manifest's clips by their embeddings, coloured by label or folder.

    Clips are near each other if the encoder takes them as alike. The embeddings are computed with
    --checkpoint, or taken from what `eat extract` wrote for the manifest, --features; several
    tokens of a clip are averaged. A clip of several labels has the colour of the first one. With
    --method pca the axes are the directions of largest variance; with tsne neighbours stay
    together, and distances mean little.
    """

    EXAMPLE: ClassVar[str] = "eat plot embeddings manifests/mine/valid.tsv --features features"

    manifest: str = argument(
        "file of the manifest, e.g. manifests/mine/valid.tsv", metavar="MANIFEST"
    )
    checkpoint: Optional[str] = option(
        f"{CHECKPOINT}, to compute the embeddings with", None, one_of="source"
    )
    features: Optional[str] = option(
        "folder or file of `eat extract`", None, metavar="PATH", one_of="source"
    )
    pooling: str = option(
        "with --checkpoint: CLS token, or mean of the patches", "cls", choices=("cls", "mean")
    )
    method: str = option("how to make the map", "pca", choices=figures.MAPPING_METHODS)
    by: Optional[str] = option(
        "what the colours show (default: label if there is a .lbl file)",
        None,
        choices=("label", "folder"),
    )
    max_clips: int = option("clips to show, drawn at random; 0 shows all", 2000, at_least=0)
    seed: int = option("seed of the draw and of t-SNE", 1, at_least=0)
    out: str = _out("embeddings")

    def plot(self) -> int:
        """Draw the map; 1 if clips had to be left out."""
        from eat.data.manifest import Manifest
        from eat.data.sampling import draw_clips
        from eat.figures.network import embed_manifest, name_kinds, read_vectors

        manifest = Manifest(self.manifest)
        clips = draw_clips(len(manifest), self.max_clips, self.seed).tolist()
        kinds = name_kinds(manifest, self.by)
        if self.features is not None:
            vectors, failures = read_vectors(self.features, manifest, clips)
        else:
            encoder = eat.load_encoder(self.checkpoint, device=choose_device(self.device))
            how = self.pooling, self.target_length
            vectors, failures = embed_manifest(encoder, manifest, clips, *how)
        figure = figures.draw_map(vectors, kinds, self.manifest, self.method, self.seed)
        return max(_write(figure, self.out), print_failures(failures))


@dataclass(kw_only=True)
class Masks(_MaskOptions):
    """Draw what settings of masks do: how much the visible blocks hold, and where they lie.

    Many clones are drawn and counted: the patches in their blocks, before random ones are shown or
    hidden to make the number equal in all, and how often each patch of the grid is in a block.
    Several sizes of blocks are drawn below each other.
    """

    EXAMPLE: ClassVar[str] = "eat plot masks --mask-block-size 3 5 8"

    mask_block_size: Optional[List[int]] = _count("sides of visible blocks", "PATCHES")
    target_length: Optional[int] = _count(
        "frames of 10 ms per clip, a multiple of 16 (default: the checkpoint's, or 1024)", "FRAMES"
    )
    num_draws: int = option("clones to draw", 10_000, at_least=1)
    out: str = _out("masks")

    def plot(self) -> int:
        """Measure and draw all settings."""
        from eat.figures.network import MAX_FRAMES, training_settings

        given = {"mask_ratio": self.mask_ratio, "mask_ratio_adjust": self.mask_ratio_adjust}
        masking, log_mel = training_settings(self.checkpoint, **given)
        length = self.target_length or log_mel.target_length or MAX_FRAMES
        replace(log_mel, target_length=length)  # refuses impossible ones
        grid = length // log_mel.patch_size, log_mel.num_mel_bins // log_mel.patch_size
        sizes = self.mask_block_size or [masking.mask_block_size]
        configs = [replace(masking, mask_block_size=size) for size in sizes]
        how = grid, self.num_draws, self.seed
        settings = [figures.examine_masks(config, *how) for config in configs]
        for one in settings:
            counts = one.counts
            print(
                f"{one.name}: {one.num_visible} of {one.coverage.size} patches visible\n"
                f"  patches in blocks ({one.num_blocks} drawn): {counts.mean():.1f} +-"
                f" {counts.std():.1f}, from {counts.min()} to {counts.max()}\n"
                f"  {100 * one.share_below:.1f} % of the clones have fewer than visible and show"
                f" {one.mean_added:.1f} more on average; those with more hide"
                f" {one.mean_removed:.1f}"
            )
        return _write(figures.draw_masks(settings), self.out)


ACTIONS = {
    options.__name__.lower(): (options, options.plot)
    for options in (Attention, Classes, Clip, Curves, Embeddings, Masks)
}


def _write(figure: Any, path: str) -> int:
    """Save a figure and say where it is; returns the exit status 0."""
    print(*figures.save_figure(figure, path), sep="\n")
    return 0
