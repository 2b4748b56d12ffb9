"""The report: all that is known about a training run, put into `report.html` as one page."""

import base64
import json
import math
import os
import shlex
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

from eat import __version__
from eat.audio import AudioInfo, LogMel, audio_info
from eat.checkpoint import Checkpoint, build_encoder, load_checkpoint
from eat.data.corpora import folders_of
from eat.data.sampling import draw_clips
from eat.data.split import open_split, split_of
from eat.data.writing import unreadable_file
from eat.training.run import Run, TrainingLog, name_runs, read_training_log
from eat.work import Failure, is_failure, map_in_threads

from . import MIN_MAPPED_CLIPS, style
from .attention import draw_layer
from .classes import draw_evaluation
from .clip import draw_clip
from .curves import compare_runs, draw_curves, draw_lengths, logged_panels, training_columns
from .layers import draw_where
from .masks import draw_masks, examine_masks
from .network import choose_example, embed_manifest, mask_clip, name_kinds, read_clip

Facts = Dict[str, Any]  # values by the names that the template uses

MAX_CLIPS = 2000  # of a split, whose headers are read; of more, random ones
_NUM_THREADS = 16  # which mostly wait for the disk
_REPLACED = "bad_audio.tsv"  # what training with task.bad_audio=skip found, file<TAB>reason
# Of the spread of targets and predictions, which is near 1 in a healthy run.
_COLLAPSED_BELOW = 0.1
# Of the possible directions; CLS of a small model trained on steady tones uses 14 % of them.
_FEW_DIRECTIONS = 0.15
_MIN_SECONDS_FOR_SHARE = 60
_NUM_CLONES = 4
_PIXELS_PER_INCH = 96  # in a page


class Rank(NamedTuple):
    """An effective rank over a validation set, see `eat.training.validation`."""

    tokens: str  # of what
    value: float
    largest: float  # that it can be


def render_report(
    run: Run, results: Sequence[str] = (), num_embedded: int = 200, compare: Optional[str] = None
) -> str:
    """The whole page about a run as HTML; it needs nothing beside it.

    What cannot be read or drawn is left out, and the page says why. `results` are further folders
    with results of `eat evaluate` and `eat probe`. The map of embeddings has at most `num_embedded`
    clips; 0 for no map. `compare` is another run, or its log, whose curves are drawn below its own.
    """
    for folder in results:
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"no such folder: {folder}, expected the --out of `eat evaluate` or `eat probe`"
            )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=as_duration, latest=latest, median=np.median)
    sections: Dict[str, str] = {}  # of the page so far, their titles by their ids

    def part(title: str, section: str = "", heading: str = "", *, caller: Callable) -> Markup:
        """What a block of the template gives, below a heading if it is a section."""
        content = Markup()
        with run.noting(title):
            content = caller()
        if section and content.strip():
            sections[section] = title
            return Markup('<h2 id="{}">{}</h2>\n{}').format(section, heading or title, content)
        return content

    names = name_runs([compare, run.folder] if compare else [run.folder])
    logs = {n: read_training_log(path) if path == compare else run.log for n, path in names.items()}
    page = _gather(run, [run.folder, *results], num_embedded, logs if run.log else {})
    return environment.get_template("report.html").render(page, part=part, sections=sections)


def _gather(
    run: Run, folders: Sequence[str], num_embedded: int, logs: Dict[str, TrainingLog]
) -> Facts:
    """Everything that the template shows, by the names it uses."""

    def collect(subject: str, parts: Iterator[Any]) -> List[Any]:
        """All parts up to the first that cannot be made, which is noted in the run."""
        made = []
        with run.noting(subject):
            for one in parts:
                made.append(one)
        return made

    checkpoint = None
    with run.noting("No figures of masks and clips"):
        checkpoint = load_checkpoint(run.checkpoint) if run.checkpoint is not None else None
    splits = collect("Data", examine_splits(run))
    evaluations = list(find_results(run, folders, "metrics.json", "metrics"))
    for found in evaluations:
        found["pictures"] = collect(f"Figures of {found['path']}", _draw_evaluation(found))
    probes = list(find_results(run, folders, "probe.json", "results"))
    for found in probes:
        found["pictures"] = collect(f"Figures of {found['path']}", _draw_probe(found))
    return {
        "run": run,
        "folder": os.path.abspath(run.folder),
        "kind_of": _kind,
        "commands_of": _commands,
        "columns": training_columns(run.log),
        "measure_speed": measure_speed,
        "target_seconds": target_seconds,
        "list_warnings": list_warnings,
        "ranks": find_ranks(run.log),
        "comparison": collect("Comparison", compare_runs(logs) if logs else iter(())),
        "curves": collect("Curves", _draw_curves(logs)),
        "splits": splits,
        "lengths": collect("Lengths of clips", _draw_lengths(run, splits)),
        "bad_files": collect("Files that could not be used", list_bad_files(run, splits)),
        "masks": collect("Masks", _draw_masks(checkpoint)),
        "clips": collect("Figures of clips", _draw_clips(run, checkpoint, splits, num_embedded)),
        "evaluations": evaluations,
        "probes": probes,
        "version": __version__,
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _kind(run: Run) -> str:
    """What kind of training it is, and its recipe."""
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


def examine_splits(run: Run) -> Iterator[Facts]:
    """The manifests of a run, validation last; those that cannot be read are noted in the run."""
    noted, task, dataset = run.last_start.get("data"), run.section("task"), run.section("dataset")
    train, folders = str(dataset.get("train_subset") or "train"), task.get("data")
    if not noted:
        names = [train, *str(dataset.get("valid_subset") or "").split(",")]
        folders = folders_of(folders) if folders else []
        files = {n: [os.path.join(folder, f"{n}.tsv") for folder in folders] for n in names if n}
        noted = {name: [{"manifest": file} for file in files[name]] for name in files}
    for name, data in sorted(noted.items(), key=lambda item: item[0] != train):
        parts = data if isinstance(data, list) else [data]  # of several folders in task.data
        for part in parts:
            of_folder = f" of {os.path.dirname(part['manifest'])}" * (len(parts) > 1)
            with run.noting(f"Nothing about the clips of {name}{of_folder}"):
                split = _examine_split(f"{name}{of_folder}", part["manifest"])
                yield {**split, "used": part.get("used")}


def _examine_split(name: str, file: str) -> Facts:
    """A manifest, the headers of at most `MAX_CLIPS` clips, and classes, most frequent first."""
    manifest, descriptors, labels, _ = open_split(*split_of(file), labelled=False)

    def read_header(clip: int) -> "AudioInfo | Failure":
        try:
            return audio_info(manifest.path(clip))
        except (ValueError, OSError) as error:
            return Failure.of(manifest.location(clip), error)

    clips = draw_clips(len(manifest), MAX_CLIPS, seed=1).tolist()
    results = list(map_in_threads(read_header, clips, _NUM_THREADS, f"reading {name}"))
    infos = [result for result in results if not is_failure(result)]
    counts = None
    if labels is not None:
        names = (label.name for label in descriptors)
        counts = sorted(zip(names, labels.counts.tolist(), strict=True), key=lambda item: -item[1])
    return {
        "name": name,
        "manifest": manifest,
        "seconds": np.array([info.duration_seconds for info in infos]),
        "rates_hz": Counter(info.sample_rate_hz for info in infos).most_common(5),
        "channels": Counter(info.num_channels for info in infos).most_common(5),
        "failures": list(filter(is_failure, results)),
        "labels": counts,
    }


def list_bad_files(run: Run, splits: Sequence[Facts]) -> Iterator[Failure]:
    """What `eat manifest` left out, what training replaced, and headers that cannot be read."""
    folders = [split_of(split["manifest"].file) for split in splits]
    paths = [f"{folder}/{unreadable_file(n)}" for folder, name in folders for n in (None, name)]
    for path in filter(os.path.exists, dict.fromkeys([*paths, f"{run.folder}/{_REPLACED}"])):
        with open(path, encoding="utf-8", errors="replace") as file:
            for name, _, reason in (line.rstrip("\n").partition("\t") for line in file):
                yield Failure(name, reason)
    for split in splits:
        yield from split["failures"]


def find_results(run: Run, folders: Sequence[str], name: str, needed: str) -> Iterator[Facts]:
    """What is in files of a name below some folders; files without the needed key are noted."""
    paths = [str(path) for folder in folders for path in sorted(Path(folder).rglob(name))]
    expected = "expected a file of `eat evaluate --out` or `eat probe --out`"
    for path in dict.fromkeys(paths):
        with run.noting(f"{path}: found no results, {expected}"):
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            yield {**values, needed: values[needed], "path": path}


def find_ranks(log: Optional[TrainingLog]) -> List[Rank]:
    """The last effective ranks that a validation set has; none of a log without them."""
    tokens = (("CLS tokens", "cls_rank"), ("patches", "patch_rank"))
    valid = next((c for c in (log or {}).values() if "cls_rank" in c), {})
    return [Rank(n, latest(valid[c]), latest(valid[f"max_{c}"])) for n, c in tokens if c in valid]


def measure_speed(columns: Dict[str, np.ndarray]) -> Facts:
    """The speed of a run by its `training_columns`; empty if they do not tell."""
    if not {"ups", "bsz", "train_wall"} <= set(columns):
        return {}
    rates, clips, in_updates = columns["ups"], columns["bsz"], columns["train_wall"]
    seconds = np.diff(columns["num_updates"], prepend=0) / np.maximum(rates, 1e-9)
    if len(rates) > 1:  # the first line holds the start: compilation, caches, the first batch
        rates, clips, in_updates, seconds = rates[1:], clips[1:], in_updates[1:], seconds[1:]
    total_seconds = float(np.nansum(seconds))
    # fairseq rounds the time in updates to whole seconds: short runs do not tell.
    share_in_updates = min(1.0, float(np.nansum(in_updates)) / max(total_seconds, 1e-9))
    updates_per_second, clips_per_update = float(np.nanmedian(rates)), float(np.nanmedian(clips))
    return {
        "updates_per_second": updates_per_second,
        "slow_updates_per_second": float(np.nanpercentile(rates, 10)),
        "clips_per_update": clips_per_update,  # of all workers together
        "clips_per_second": updates_per_second * clips_per_update,
        "share_waiting": 1 - share_in_updates if total_seconds >= _MIN_SECONDS_FOR_SHARE else None,
    }


def target_seconds(run: Run) -> float:
    """The length, in seconds of the recording, that clips are cut or padded to; 0: not known."""
    task = run.section("task")
    frame_seconds = task.get("hop_ms", LogMel.hop_ms) / 1000 * task.get("speed", LogMel.speed)
    return task.get("target_length", 0) * frame_seconds


def list_warnings(columns: Dict[str, np.ndarray], ranks: Sequence[Rank] = ()) -> Iterator[str]:
    """What is wrong with a training, as far as its `training_columns` and ranks tell."""
    losses = columns.get("loss", np.zeros(0))
    num_bad = int((~np.isfinite(losses)).sum())
    if num_bad:
        yield f"The loss is not finite in {num_bad} of {len(losses)} log lines."
    num_skipped = int(latest(columns.get("skipped_updates", np.zeros(1))))
    if num_skipped:
        yield (
            f"{num_skipped} updates since the last start were skipped because their gradients were"
            " not finite."
        )
    for column, what in (("target_var", "targets"), ("prediction_var", "predictions")):
        if column in columns and latest(columns[column]) < _COLLAPSED_BELOW:
            yield (
                f"The spread of the {what} is {latest(columns[column]):.2f}: the model has"
                " collapsed, all patches look the same to it."
            )
    for rank in ranks:
        if rank.value < _FEW_DIRECTIONS * rank.largest:
            yield (
                f"The {rank.tokens} of the validation clips use {rank.value:.1f} of"
                f" {rank.largest:g} possible directions: these features tell clips apart in few"
                " ways. That is so after few updates and with clips that are much alike; if it"
                " stays, the features have partly collapsed, though their spread is large."
            )


def latest(values: np.ndarray) -> float:
    """The last value that was logged."""
    logged = values[~np.isnan(values)]
    return float(logged[-1]) if len(logged) else math.nan


def as_duration(seconds: float) -> str:
    """Time in two units: 3 d 4 h, 2 h 5 min, 1 min 20 s, 12 s."""
    seconds = round(seconds)
    for size, unit, small_size, small in (
        (86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"),
    ):  # fmt: skip
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small_size} {small}"
    return f"{seconds} s"


def _picture(figure: Figure, alt: str, is_panel: bool = False) -> Markup:
    """An image as data: a panel, which is a small SVG, or a PNG that a phone moves sideways."""
    kind, mime = ("svg", "svg+xml") if is_panel else ("png", "png")
    data = base64.b64encode(style.render_figure(figure, kind)).decode()
    width = round(figure.get_figwidth() * _PIXELS_PER_INCH)
    place = '<div class="panel">' if is_panel else '<div class="wide" tabindex="0">'
    image = '<img src="data:image/{};base64,{}" alt="{}" width="{}"></div>'
    return Markup(place + image).format(mime, data, alt, width)


def _draw_curves(runs: Dict[str, TrainingLog]) -> Iterator[Markup]:
    for panel in logged_panels(runs) if runs else ():
        yield _picture(draw_curves(runs, [panel]), f"{panel.title} over the updates", True)


def _draw_lengths(run: Run, splits: Sequence[Facts]) -> Iterator[Markup]:
    seconds = {split["name"]: split["seconds"] for split in splits}
    if any(map(len, seconds.values())):
        figure = draw_lengths(seconds, target_seconds(run) or None)
        yield _picture(figure, "Lengths of the clips of each manifest", True)


def _draw_masks(checkpoint: Optional[Checkpoint]) -> Iterator[Markup]:
    masking, log_mel = checkpoint and checkpoint.masking_config, checkpoint and checkpoint.log_mel
    if masking and log_mel and log_mel.target_length:
        encoder = checkpoint.encoder_config
        grid = log_mel.target_length // encoder.patch_size, encoder.num_columns
        setting = examine_masks(masking, grid)
        alt = f"{setting.name}: patches in blocks, coverage, one clone"
        yield _picture(draw_masks([setting]), alt)


def _draw_clips(
    run: Run, checkpoint: Optional[Checkpoint], splits: Sequence[Facts], num_embedded: int
) -> Iterator[Markup]:
    """An example of the last split, masked and with its attention, and a map of clips."""
    if checkpoint is None or not splits:
        return
    manifest, encoder = splits[-1]["manifest"], build_encoder(checkpoint).eval()
    log_mel = checkpoint.log_mel or encoder.log_mel

    def read(clip: int) -> Optional[Tensor]:
        # It fails for example because the audio has moved.
        with run.noting(f"Figures of {manifest.relative_path(clip)}"):
            return read_clip(manifest.path(clip), log_mel)
        return None

    example = choose_example(manifest.num_samples, read, log_mel)
    if example is not None:
        clip, source = example
        name = manifest.relative_path(clip)
        if checkpoint.masking_config is not None:
            masks = mask_clip(source, checkpoint.masking_config, log_mel.patch_size)[:_NUM_CLONES]
            figure = draw_clip(source, masks, log_mel, name)
            yield _picture(figure, f"Spectrogram of {name} and what clones show of it")
        figure = draw_layer(encoder, source, log_mel, name)
        yield _picture(figure, f"Attention of the last block's CLS token in {name}")
    if num_embedded >= MIN_MAPPED_CLIPS:
        from . import draw_map  # here, as scikit-learn may be missing

        clips = draw_clips(len(manifest), num_embedded, seed=1).tolist()
        length = log_mel.target_length
        vectors, failures = embed_manifest(encoder, manifest, clips, target_length=length)
        run.notes += [f"{path} is not in the map of clips: {why}." for path, why in failures]
        figure = draw_map(vectors, name_kinds(manifest), manifest.file)
        what = f"CLS tokens of {len(vectors)} clips of {manifest.file}"
        yield _picture(figure, f"Map of the {what}, coloured by label or folder")


def _draw_probe(probe: Facts) -> Iterator[Markup]:
    if any("where" in result for result in probe["results"]):
        yield _picture(draw_where(probe), f"Weights of layers in {probe['path']}")


def _draw_evaluation(evaluation: Facts) -> Iterator[Markup]:
    for figure in draw_evaluation(evaluation).values():
        yield _picture(figure, f"{figure.get_suptitle()}, of {evaluation['path']}")
