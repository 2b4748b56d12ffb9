"""From nothing to a pre-trained EAT in under five minutes: data, training, probe, report.

    python examples/quickstart.py                        # on synthetic sound events
    python examples/quickstart.py --audio /any/folder    # on your own recordings

Each step prints the command that does the same by hand. It trains `pretrain_tiny` for a few
updates: enough to see the loss fall, too few for good features. An interrupted run continues
from its last checkpoint when it is started again.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from synthesis import CLASSES, write_events

from eat.audio import LogMel
from eat.commands.main import main as eat
from eat.data.manifest import Manifest
from eat.data.statistics import Statistics, measure_statistics
from eat.figures.network import choose_example, read_clip
from eat.files import write_file
from eat.machine import describe_hardware
from eat.training.launch import TrainingError, train, training_arguments
from eat.training.run import read_training_log

CONFIG_NAME = "pretrain_tiny"
SEED = 1
CLIP_FRAMES = 128  # of 10 ms: task.target_length of the config
CLIP_SECONDS = CLIP_FRAMES / 100
EXPECTED_CURVE = Path(__file__).with_name("expected_curve.jsonl")  # of the default run, in fp32
DEFAULT_UPDATES = 100  # under two minutes on two cores without bf16 hardware
DEFAULT_CLIPS_PER_CLASS = 80
PROBE_FOLDS = 4
PROBE_MAX_CLIPS = 500
PROBE_WHILE_TRAINING = 150  # clips


class QuickstartError(Exception):
    """What went wrong and what to do about it, for the user."""


class Run:
    """The output folder: where things are, what they were made with, whether all is done."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder = args.out.resolve()
        self.updates = args.updates
        self.clips_per_class = args.clips_per_class
        self.events = self.folder / "events"
        self.audio = self.events if args.audio is None else args.audio.resolve()
        self.manifests = self.folder / "manifests"
        self.labelled = self.folder / "labelled"
        self.checkpoints = self.folder / "checkpoints"
        self.checkpoint = self.checkpoints / "checkpoint_last.pt"
        self.figures = self.folder / "figures"
        self.probe = self.folder / "probe"
        self.report = self.folder / "report.html"
        self.log = self.folder / "train.log"
        self._record = self.folder / "run.json"

    @property
    def is_synthetic(self) -> bool:
        """Whether it makes its own recordings."""
        return self.audio == self.events

    @property
    def is_default(self) -> bool:
        """Whether this is the run whose curve is known."""
        known = {"clips_per_class": DEFAULT_CLIPS_PER_CLASS, "updates": DEFAULT_UPDATES}
        return self._settings() == known

    def begin(self, restart: bool) -> bool:
        """Create or check the folder; returns whether its training is finished."""
        if self._record.exists() and not restart:
            record = json.loads(self._record.read_text())
            if record["settings"] != self._settings():
                raise QuickstartError(
                    f"{self.folder}: found a run with {record['settings']}, expected one with"
                    f" {self._settings()}; add --restart to replace it, or choose another folder"
                    " with --out"
                )
            return record["finished"]
        if self._record.exists():
            data = (self.events, self.manifests, self.labelled)
            for path in (*data, self.checkpoints, self.probe, self.figures):
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.log, self.report):
                path.unlink(missing_ok=True)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise QuickstartError(
                f"{self.folder}: holds other files, expected an empty or new folder for --out"
            )
        self.record(finished=False)
        return False

    def record(self, finished: bool) -> None:
        """Remember the settings and how far the run is."""
        content = json.dumps({"settings": self._settings(), "finished": finished})
        write_file(self._record, content.encode())

    def _settings(self) -> Dict[str, Any]:
        if not self.is_synthetic:
            return {"audio": str(self.audio), "updates": self.updates}
        return {"clips_per_class": self.clips_per_class, "updates": self.updates}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run all steps; returns 0, 1 if one failed, 130 after Ctrl-C."""
    args = parse_arguments(argv)
    run, started = Run(args), time.monotonic()
    try:
        if run.begin(args.restart):
            print(f"The run in {run.folder} is finished; --restart trains again.")
        else:
            if run.is_synthetic:
                make_events(run)
            make_manifests(run)
            label_clips(run)
            pretrain(run, measure(run))
            run.record(finished=True)
        draw_figures(run)
        probe(run)
        write_report(run)
        print_results(run, time.monotonic() - started)
    except (QuickstartError, ValueError, OSError) as error:
        print(f"\nquickstart: {error}", file=sys.stderr)
        return 1
    except TrainingError as error:
        more = "(the same command continues, --restart starts again)"
        print(f"\nquickstart: {error}\n\n{more}", file=sys.stderr)
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
        help="folder for everything (default: quickstart/NAME, NAME being that of the --audio"
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
    """Step 1: make recordings."""
    heading("Synthetic sound events")
    paths = write_events(run.events, run.clips_per_class, SEED, CLIP_SECONDS)
    print(f"{len(paths)} clips of {len(CLASSES)} classes in {run.events}: {', '.join(CLASSES)}")


def make_manifests(run: Run) -> None:
    """Step 2: list the files, some of them for validation."""
    heading("Manifests")
    where = ("manifest", "folder", run.audio, "--out", run.manifests)
    run_eat(*where, "--valid-fraction", 0.1, "--seed", SEED, "--force", makes="train.tsv")
    if not (run.manifests / "valid.tsv").exists():
        raise QuickstartError(
            f"{run.audio}: found one readable recording, expected at least two:"
            " one to train on and one to validate with"
        )


def label_clips(run: Run) -> None:
    """Step 2, continued: list the folders of clips as labels, for probes."""
    sizes = count_clips(run)
    num_folders = sum(size >= PROBE_FOLDS for folder, size in sizes.items() if folder)
    if num_folders < 2:
        print(
            "A probe asks how well the folders of clips can be told apart. It needs two folders of"
            f" {PROBE_FOLDS} clips or more, and\n{run.audio} has {num_folders}: skipped."
        )
        return
    where = ("manifest", "folder", run.audio, "--labels-from", "parent", "--out", run.labelled)
    run_eat(*where, "--valid-fraction", 0, "--force", makes="train.tsv")


def measure(run: Run) -> Statistics:
    """Step 2, continued: mean and standard deviation of the network's input."""
    manifest = run.manifests / "train.tsv"
    show_command("eat", "stats", manifest)
    statistics = measure_statistics(str(manifest))
    print(f"mean {statistics.mean:.3f}, standard deviation {statistics.std:.3f}")
    frames = statistics.target_length
    if frames > CLIP_FRAMES:
        print(
            f"Clips are cut after {CLIP_SECONDS} s here. To learn from more of yours, set\n"
            f"task.target_length={frames} in the next command ({frames / 100} s; frames of 10 ms, a"
            " multiple of 16);\neach update then takes longer."
        )
    return statistics


def pretrain(run: Run, statistics: Statistics) -> None:
    """Step 3: train with fairseq, with a progress bar made of its log."""
    heading(f"Pre-training, {run.updates} updates")
    command = training_arguments(CONFIG_NAME, training_settings(run, statistics))
    show_command("fairseq-hydra-train", *command)
    train(command, run.log, run.updates)


def training_settings(run: Run, statistics: Statistics) -> Dict[str, Any]:
    """The settings that differ from the recipe."""
    return {
        "common.log_interval": 10 if run.updates >= 100 else 1,
        "common.bf16": describe_hardware().multiplies_bf16(),
        "task.data": run.manifests,
        "task.probe_data": run.labelled if run.labelled.exists() else None,
        "task.probe_clips": PROBE_WHILE_TRAINING,
        "task.mean": round(statistics.mean, 3),
        "task.std": round(statistics.std, 3),
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
    """Step 4: draw the curves, and a clip with its masks."""
    heading("Figures")
    expected = [EXPECTED_CURVE] if run.is_default else []
    run_eat("plot", "curves", *expected, run.checkpoints, "--out", run.figures / "curves")
    manifest = Manifest(run.manifests / "valid.tsv")
    log_mel = LogMel(target_length=CLIP_FRAMES)
    clip, _ = choose_example(
        manifest.num_samples, lambda clip: read_clip(manifest.path(clip), log_mel), log_mel
    )
    run_eat(
        "plot",
        "clip",
        manifest.path(clip),
        "--checkpoint",
        run.checkpoint,
        "--out",
        run.figures / "clip",
    )


def probe(run: Run) -> None:
    """Step 5: ask what the features say of the folders that clips are in."""
    heading("Probe")
    if not run.labelled.exists():
        print("No labels, see above: skipped.")
        return
    # As in training: padded, and of longer clips the beginning.
    options = ("--folds", PROBE_FOLDS, "--pooling", "cls", "mean", "--target-length", CLIP_FRAMES)
    some = ("--max-clips", PROBE_MAX_CLIPS)
    run_eat("probe", run.checkpoint, "--data", run.labelled, *options, *some, "--out", run.probe)
    clips = (run.labelled / "train.tsv", "--checkpoint", run.checkpoint, "--pooling", "mean")
    run_eat("plot", "embeddings", *clips, *some, "--out", run.figures / "embeddings")


def count_clips(run: Run) -> Dict[str, int]:
    """The number of clips by the name of the folder that they are in."""
    manifests = [Manifest(run.manifests / f"{split}.tsv") for split in ("train", "valid")]
    paths = [path for manifest in manifests for path in manifest.relative_paths()]
    return Counter(os.path.basename(os.path.dirname(path)) for path in paths)


def write_report(run: Run) -> None:
    """Step 6: write all of it on one page."""
    heading("Report")
    results = ["--results", run.probe] if run.probe.exists() else []
    expected = ["--compare", EXPECTED_CURVE] if run.is_default else []
    run_eat("report", run.checkpoints, *results, *expected, "--out", run.report)


def print_results(run: Run, seconds: float) -> None:
    """Step 7: say what came out, and how to go on."""
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
    python = shell_word(os.path.relpath(sys.executable))
    eat_program = shell_word(os.path.relpath(Path(sys.executable).with_name("eat")))
    audio, folder = shell_word(str(run.audio)), shell_word(str(run.folder))
    source = "" if run.is_synthetic else f" --audio {audio}"
    checkpoint = shell_word(str(run.checkpoint))
    print(
        f"""
Next, your own recordings; better features, in a longer run; the features that there are now:
  make quickstart AUDIO=/any/folder
  {python} {shell_word(os.path.relpath(__file__))}{source} --out {folder} --updates 2000 --restart
  {eat_program} extract {audio} --checkpoint {checkpoint} --out {folder}/features
All of it by hand: examples/pretrain_your_audio.md, examples/finetune_your_labels.md"""
    )


def heading(text: str) -> None:
    """Announce a step."""
    print(f"\n== {text}")


def run_eat(*words: Any, makes: Optional[str] = None) -> None:
    """Show a command of `eat` and run it.

    Args:
        words: the command.
        makes: a file in its `--out`; if it is there, the command did enough, whatever its status:
            `eat manifest` has 1 when it left files out, which it names.

    Raises:
        QuickstartError: it failed.
    """
    arguments = list(map(str, words))
    show_command("eat", *arguments)
    status = eat(arguments)
    if makes is not None and Path(arguments[arguments.index("--out") + 1], makes).exists():
        return
    if status != 0:
        raise QuickstartError(f"eat {arguments[0]} failed, see above")


def show_command(*words: Any) -> None:
    """Print a command as one would type it into a shell."""
    print("$", *(shell_word(str(word)) for word in words), flush=True)


def shell_word(word: str) -> str:
    """A word quoted for a shell, in double quotes if that is the more legible way."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


if __name__ == "__main__":
    sys.exit(main())
