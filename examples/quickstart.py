"""From nothing to a pre-trained EAT in under five minutes: data, training, probe, report.

    python examples/quickstart.py                        # on synthetic sound events
    python examples/quickstart.py --audio /any/folder    # on your own recordings

Each step prints the command that does the same by hand. It trains `pretrain_tiny` for a few
updates: enough to see the loss fall, too few for good features. An interrupted run continues
from its last checkpoint when it is started again.
"""

import argparse
import contextlib
import io
import json
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from eat.audio.synthesis import CLASSES, write_events
from eat.commands.main import main as eat
from eat.data.manifest import Manifest
from eat.launch import TrainingError, multiplies_bf16, train, training_arguments
from eat.training.run import read_training_log

CONFIG_NAME = "pretrain_tiny"
SEED = 1
CLIP_FRAMES = 128  # of 10 ms: task.target_length of the config
CLIP_SECONDS = CLIP_FRAMES / 100
EXPECTED_CURVE = Path(__file__).with_name("expected_curve.jsonl")  # of the default run, in fp32
DEFAULT_UPDATES = 100  # under two minutes on two cores without bf16 hardware
DEFAULT_CLIPS_PER_CLASS = 80
PROBE_FOLDS = 4
PROBE_MAX_CLIPS = 1000


class QuickstartError(Exception):
    """What went wrong and what to do about it, for the user's eyes."""


class Run:
    """The output folder: where things are, what they were made with, whether all is done."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder = args.out.resolve()
        self.audio = None if args.audio is None else args.audio.resolve()
        self.updates = args.updates
        self.clips_per_class = args.clips_per_class
        self.events = self.folder / "events"
        self.manifests = self.folder / "manifests"
        self.checkpoints = self.folder / "checkpoints"
        self.checkpoint = self.checkpoints / "checkpoint_last.pt"
        self.figures = self.folder / "figures"
        self.labelled = self.folder / "labelled"
        self.probe = self.folder / "probe"
        self.report = self.folder / "report.html"
        self.log = self.folder / "train.log"
        self._record = self.folder / "run.json"

    @property
    def is_default(self) -> bool:
        """Whether this is the run whose curve is known."""
        known = {"clips_per_class": DEFAULT_CLIPS_PER_CLASS, "updates": DEFAULT_UPDATES}
        return self._settings() == known

    def begin(self, restart: bool) -> bool:
        """Create or check the folder; returns whether its training is finished."""
        if self._record.exists():
            if not restart:
                record = json.loads(self._record.read_text())
                self._check_settings(record["settings"])
                return record["finished"]
            for path in self._folders():
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.log, self.report):
                path.unlink(missing_ok=True)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise QuickstartError(
                f"{self.folder}: holds other files, expected an empty or new folder for --out"
            )
        self.record(finished=False)
        return False

    def _folders(self) -> Tuple[Path, ...]:
        """All that it makes."""
        data = (self.events, self.manifests, self.labelled)
        return (*data, self.checkpoints, self.probe, self.figures)

    def record(self, finished: bool) -> None:
        """Remember the settings and how far the run is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._record.with_suffix(".partial")
        partial.write_text(json.dumps({"settings": self._settings(), "finished": finished}))
        os.replace(partial, self._record)

    def _settings(self) -> Dict[str, Any]:
        if self.audio is not None:
            return {"audio": str(self.audio), "updates": self.updates}
        return {"clips_per_class": self.clips_per_class, "updates": self.updates}

    def _check_settings(self, found: Dict[str, Any]) -> None:
        if found != self._settings():
            raise QuickstartError(
                f"{self.folder}: found a run with {found}, expected one with {self._settings()};"
                " add --restart to replace it, or choose another folder with --out"
            )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed, 130 after Ctrl-C."""
    args = parse_arguments(argv)
    run, started = Run(args), time.monotonic()
    try:
        if run.begin(args.restart):
            print(f"The run in {run.folder} is finished; --restart trains again.")
        else:
            if run.audio is None:
                make_events(run)
            make_manifests(run)
            pretrain(run, measure(run))
            run.record(finished=True)
        draw_figures(run)
        if label_clips(run):
            probe(run)
        write_report(run)
        print_results(run, time.monotonic() - started)
    except QuickstartError as error:
        print(f"\nquickstart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nquickstart: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


def parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The command line, with the output folder filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="DIR",
        help="recordings, in any format and of any length (default: makes synthetic events)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where everything goes (default: quickstart/NAME, NAME being that of the --audio"
        " folder, or synthetic)",
    )
    parser.add_argument("--updates", type=int, default=DEFAULT_UPDATES, help="default: %(default)s")
    parser.add_argument(
        "--clips-per-class",
        type=int,
        default=DEFAULT_CLIPS_PER_CLASS,
        help=f"synthetic clips of each of {len(CLASSES)} classes (default: %(default)s)",
    )
    parser.add_argument("--restart", action="store_true", help="start again from nothing")
    args = parser.parse_args(argv)
    if args.audio is not None and not args.audio.is_dir():
        parser.error(f"--audio: no such folder: {args.audio}")
    if min(args.updates, args.clips_per_class) < 1:
        parser.error("--updates and --clips-per-class: expected 1 or more")
    if args.out is None:
        args.out = Path("quickstart") / (args.audio.resolve().name if args.audio else "synthetic")
    return args


def make_events(run: Run) -> None:
    """Step 1: something to listen to."""
    heading("Synthetic sound events")
    paths = write_events(run.events, run.clips_per_class, SEED, CLIP_SECONDS)
    print(f"{len(paths)} clips of {len(CLASSES)} classes in {run.events}: {', '.join(CLASSES)}")


def make_manifests(run: Run) -> None:
    """Step 2: which files there are, and which of them are for validation."""
    heading("Manifests")
    folder = run.audio or run.events
    arguments = ["manifest", "folder", str(folder), "--out", str(run.manifests)]
    arguments += ["--valid-fraction", "0.1", "--seed", str(SEED), "--force"]
    show_command("eat", *arguments)
    status = eat(arguments)
    # With status 1 and both manifests there, some files were left out and named: good enough.
    if status != 0 and not (run.manifests / "train.tsv").exists():
        raise QuickstartError("no manifest could be written, see above")
    if not (run.manifests / "valid.tsv").exists():
        raise QuickstartError(
            f"{folder}: found one readable recording, expected at least two:"
            " one to train on and one to validate with"
        )


def measure(run: Run) -> Dict[str, Any]:
    """Step 2, continued: mean and standard deviation of the network's input."""
    arguments = ["stats", str(run.manifests / "train.tsv"), "--json"]
    show_command("eat", *arguments)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = eat(arguments)
    if not printed.getvalue():
        raise QuickstartError(f"eat stats failed with status {status}, see above")
    statistics = json.loads(printed.getvalue())
    print(f"mean {statistics['mean']:.3f}, standard deviation {statistics['std']:.3f}")
    frames = statistics["target_length"]
    if frames > CLIP_FRAMES:
        print(
            f"Clips are cut after {CLIP_SECONDS} s here. To learn from more of yours, set\n"
            f"task.target_length={frames} in the next command ({frames / 100} s; frames of 10 ms, a"
            " multiple of 16);\neach update then takes longer."
        )
    return statistics


def pretrain(run: Run, statistics: Dict[str, Any]) -> None:
    """Step 3: fairseq, with a progress bar made of what it logs."""
    heading(f"Pre-training, {run.updates} updates")
    command = training_arguments(CONFIG_NAME, training_settings(run, statistics))
    show_command("fairseq-hydra-train", *command)
    try:
        train(command, run.log, run.updates)
    except TrainingError as error:
        raise QuickstartError(
            f"{error}\n\n(the same command continues, --restart starts again)"
        ) from error


def training_settings(run: Run, statistics: Dict[str, Any]) -> Dict[str, Any]:
    """What differs from the recipe."""
    return {
        "common.log_interval": 10 if run.updates >= 100 else 1,
        "common.bf16": multiplies_bf16(),
        "task.data": run.manifests,
        "task.mean": round(statistics["mean"], 3),
        "task.std": round(statistics["std"], 3),
        "checkpoint.save_dir": run.checkpoints,
        # Saving takes seconds on a slow disk; twice in a short run is enough to continue from.
        "checkpoint.save_interval_updates": min(500, max(1, run.updates // 2)),
        "dataset.validate_interval_updates": max(1, run.updates // 5),
        # Reading is quick here, and starting workers anew in every short epoch is not.
        "dataset.num_workers": 0,
        "distributed_training.distributed_world_size": 1,
        "optimization.max_update": run.updates,
        "lr_scheduler.warmup_updates": run.updates // 5,
    }


def draw_figures(run: Run) -> None:
    """Step 4: the curves, and a clip with its masks."""
    heading("Figures")
    expected = [EXPECTED_CURVE] if run.is_default else []
    run_eat("plot", "curves", *expected, run.checkpoints, "--out", run.figures / "curves")
    manifest = Manifest(run.manifests / "valid.tsv")
    longest = manifest.path(int(np.argmax(manifest.num_samples)))
    run_eat("plot", "clip", longest, "--checkpoint", run.checkpoint, "--out", run.figures / "clip")


def label_clips(run: Run) -> bool:
    """Step 5: take folders as labels; returns whether there are enough for a probe."""
    heading("Probe")
    folder = run.audio or run.events
    arguments = ["manifest", "folder", str(folder), "--labels-from", "parent"]
    arguments += ["--out", str(run.labelled), "--valid-fraction", "0", "--force"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        eat(arguments)
    sizes = count_labels(run.labelled / "train.tsv")
    if sum(size >= PROBE_FOLDS for size in sizes) < 2:
        print(
            f"A probe asks how well the folders of clips can be told apart. It needs two folders of"
            f" {PROBE_FOLDS} clips or more, and\n{folder} has"
            f" {sum(size >= PROBE_FOLDS for size in sizes)}: skipped."
        )
        return False
    show_command("eat", *arguments)
    return True


def count_labels(manifest: Path) -> List[int]:
    """The number of clips of each label; empty if nothing is labelled."""
    if not manifest.exists():
        return []
    paths = Manifest(manifest).relative_paths()
    return list(Counter(os.path.basename(os.path.dirname(path)) for path in paths).values())


def probe(run: Run) -> None:
    """Step 5, continued: what the features say of the labels, those of an untrained encoder too."""
    # As in training: padded, and of longer clips the beginning.
    options = ["--folds", PROBE_FOLDS, "--pooling", "cls", "mean", "--target-length", CLIP_FRAMES]
    some = ["--max-clips", PROBE_MAX_CLIPS]
    run_eat("probe", run.checkpoint, "--data", run.labelled, *options, *some, "--out", run.probe)
    clips = [run.labelled / "train.tsv", "--checkpoint", run.checkpoint, "--pooling", "mean"]
    run_eat("plot", "embeddings", *clips, *some, "--out", run.figures / "embeddings")


def write_report(run: Run) -> None:
    """Step 6: all of it on one page."""
    heading("Report")
    results = ["--results", run.probe] if run.probe.exists() else []
    run_eat("report", run.checkpoints, *results, "--out", run.report)


def print_results(run: Run, seconds: float) -> None:
    """Step 7: what came out, and where to go from here."""
    heading("Done")
    log = read_training_log(run.log)["train_inner"]
    first, last = log["frame_loss"][0], log["frame_loss"][-1]
    print(
        f"frame loss {first:.2f} -> {last:.2f} after {run.updates} updates,"
        f" target_var {log['target_var'][-1]:.2f} (near 0 would be a collapse)\n"
        f"report:     {run.report}\n"
        f"checkpoint: {run.checkpoint}\n"
        f"figures:    {run.figures}\n"
        f"full log:   {run.log}\n"
        f"this took {seconds:.0f} s"
    )
    print(NEXT_STEPS)


NEXT_STEPS = """
Next
  your own recordings  make quickstart AUDIO=/any/folder
  better features      add --updates 2000 --restart; the README says how to use the checkpoint
  all of it by hand    examples/pretrain_your_audio.md, examples/finetune_your_labels.md"""


def heading(text: str) -> None:
    """Announce a step."""
    print(f"\n== {text}")


def run_eat(*words: Any) -> None:
    """Show a command of `eat` and run it.

    Raises:
        QuickstartError: it failed.
    """
    arguments = list(map(str, words))
    show_command("eat", *arguments)
    if eat(arguments) != 0:
        raise QuickstartError(f"eat {arguments[0]} failed, see above")


def show_command(*words: str) -> None:
    """Print a command as one would type it into a shell."""
    print("$", *map(shell_word, words), flush=True)


def shell_word(word: str) -> str:
    """A word quoted for a shell, in double quotes if that is the more legible way."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


if __name__ == "__main__":
    sys.exit(main())
