"""The page: everything that is known about a run, put into `report.html`."""

import base64
import os
import shlex
from datetime import datetime, timezone
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import jinja2
import numpy as np
from matplotlib.figure import Figure

from eat import __version__
from eat.checkpoint import Checkpoint, build_encoder, load_checkpoint
from eat.data.sampling import draw_clips
from eat.training.run import Run

from .. import MIN_MAPPED_CLIPS, style
from ..attention import draw_layer
from ..classes import draw_evaluation
from ..clip import draw_clip
from ..curves import draw_curves, logged_panels
from ..lengths import draw_lengths
from ..masks import draw_masks, examine_masks
from ..network import embed_manifest, mask_clip, name_kinds, read_clip
from .facts import (
    Facts,
    as_duration,
    examine_splits,
    find_results,
    latest,
    list_bad_files,
    list_warnings,
    measure_speed,
    training_columns,
)

_NUM_CLONES = 4
_PIXELS_PER_INCH = 96  # in a page
_IMAGE_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


def _picture(figure: Figure, alt: str, kind: str = "png", is_wide: bool = True) -> Facts:
    """An image as the page shows it, as data, so that the page needs no file beside it.

    Args:
        figure: what it shows.
        alt: the same in words, for those who cannot see it.
        kind: "svg" for lines, "png" for spectrograms and many points.
        is_wide: whether a phone moves it sideways rather than make it small.
    """
    data = base64.b64encode(style.render_figure(figure, kind)).decode()
    width = round(figure.get_figwidth() * _PIXELS_PER_INCH)
    source = f"data:{_IMAGE_TYPES[kind]};base64,{data}"
    return {"source": source, "alt": alt, "width": width, "is_wide": is_wide}


def render_report(run: Run, results: Sequence[str] = (), num_embedded: int = 200) -> str:
    """The whole page about a run as HTML; it needs nothing beside it.

    Args:
        run: from `eat.training.run.read_run`.
        results: further folders with results of `eat evaluate` and `eat probe`.
        num_embedded: clips of the map of embeddings at most; 0 for no map.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file of results or the checkpoint is damaged.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=as_duration, latest=latest, median=np.median)
    page = _gather(run, [run.folder, *results], num_embedded)
    return environment.get_template("report.html").render(page)


def _gather(run: Run, folders: Sequence[str], num_embedded: int) -> Facts:
    """Everything that the template shows, by the names it uses."""
    evaluations = find_results(folders, "metrics.json", "metrics")
    probes = find_results(folders, "probe.json", "results")
    columns = training_columns(run.log)
    splits = examine_splits(run)
    checkpoint = None if run.checkpoint is None else load_checkpoint(run.checkpoint)
    return {
        "run": run,
        "folder": os.path.abspath(run.folder),
        "kind": _kind(run),
        "columns": columns,
        "speed": measure_speed(columns),
        "warnings": list_warnings(columns),
        "commands": _commands(run),
        "curves": list(_draw_curves(run)),
        "splits": splits,
        "lengths": list(_draw_lengths(run, splits)),
        "bad_files": list_bad_files(run, splits),
        "masks": list(_draw_masks(checkpoint)),
        "clips": list(_draw_network(run, checkpoint, splits, num_embedded)),
        "evaluations": [{**found, "pictures": _draw_evaluation(found)} for found in evaluations],
        "probes": probes,
        "version": __version__,
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _kind(run: Run) -> str:
    kinds = {"eat": "Pre-training", "eat_classifier": "Fine-tuning"}
    kind = kinds.get(run.section("model").get("_name"), "Training")
    # Both `--config-name X` and `--config-name=X`.
    words = " ".join(run.last_start.get("command", ())).replace("=", " ").split()
    if "--config-name" in words[:-1]:
        return f"{kind} with {words[words.index('--config-name') + 1]}"
    return kind


def _commands(run: Run) -> Dict[Tuple[str, str], List[str]]:
    """The times of each command, by folder and command, the last one first."""
    commands: Dict[Tuple[str, str], List[str]] = {}
    for start in reversed(run.starts):
        key = start["folder"], shlex.join(start["command"])
        commands.setdefault(key, []).insert(0, start["time"])
    return commands


def _draw_curves(run: Run) -> Iterator[Facts]:
    runs = {"run": run.log}
    for panel in logged_panels(runs) if run.log is not None else ():
        figure = draw_curves(runs, [panel])
        yield _picture(figure, f"{panel.title} over the updates", "svg", is_wide=False)


def _draw_lengths(run: Run, splits: Sequence[Facts]) -> Iterator[Facts]:
    seconds = {split["name"]: split["seconds"] for split in splits if len(split["seconds"])}
    if seconds:
        frames = run.section("task").get("target_length")
        figure = draw_lengths(seconds, frames / 100 if frames else None)
        yield _picture(figure, "Lengths of the clips of each manifest", "svg", is_wide=False)


def _draw_masks(checkpoint: Optional[Checkpoint]) -> Iterator[Facts]:
    if checkpoint is None or checkpoint.masking_config is None:
        return
    if checkpoint.log_mel is not None and checkpoint.log_mel.target_length is not None:
        encoder = checkpoint.encoder_config
        grid = checkpoint.log_mel.target_length // encoder.patch_size, encoder.num_columns
        setting = examine_masks(checkpoint.masking_config, grid)
        alt = f"{setting.name}: patches in blocks, coverage, one clone"
        yield _picture(draw_masks([setting]), alt)


def _draw_network(
    run: Run, checkpoint: Optional[Checkpoint], splits: Sequence[Facts], num_embedded: int
) -> Iterator[Facts]:
    """The longest clip of the last split, masked and with its attention, and a map of clips.

    What cannot be drawn, for example because the audio has moved, is noted in the run.
    """
    if checkpoint is None or not splits:
        return
    try:
        manifest = splits[-1]["manifest"]
        encoder = build_encoder(checkpoint).eval()
        log_mel = checkpoint.log_mel or encoder.log_mel
        longest = int(np.argmax(manifest.num_samples))
        source, name = read_clip(manifest.path(longest), log_mel), manifest.relative_path(longest)
        if checkpoint.masking_config is not None:
            masks = mask_clip(source, checkpoint.masking_config, log_mel.patch_size)[:_NUM_CLONES]
            figure = draw_clip(source, masks, log_mel, name)
            yield _picture(figure, f"Spectrogram of {name} and what clones show of it")
        figure = draw_layer(encoder, source, log_mel, name)
        yield _picture(figure, f"Attention of the last block's CLS token in {name}")
        if num_embedded >= MIN_MAPPED_CLIPS:
            clips = draw_clips(len(manifest), num_embedded, seed=1).tolist()
            length = log_mel.target_length
            vectors, failures = embed_manifest(encoder, manifest, clips, target_length=length)
            run.notes += [f"{path} is not in the map of clips: {why}." for path, why in failures]
            from .. import draw_map  # here, as scikit-learn may be missing

            figure = draw_map(vectors, name_kinds(manifest), manifest.file)
            clips = f"CLS tokens of {len(vectors)} clips of {manifest.file}"
            yield _picture(figure, f"Map of the {clips}, coloured by label or folder")
    except (ValueError, OSError, ModuleNotFoundError) as error:
        run.notes.append(f"Figures of clips: {error}.")


def _draw_evaluation(evaluation: Facts) -> List[Facts]:
    figures = draw_evaluation(evaluation).values()
    return [_picture(one, f"{one.get_suptitle()}, of {evaluation['path']}") for one in figures]
