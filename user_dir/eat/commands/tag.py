"""`eat tag`: the most probable classes of recordings."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

from eat.machine import choose_device
from eat.work import show_progress

from .arguments import whole_number
from .devices import add_device_argument

if TYPE_CHECKING:
    from torch import Tensor

    from eat.features import Pipeline
    from eat.nn import Classifier

HELP = "labels of audio files and their probabilities, by a fine-tuned checkpoint"

DESCRIPTION = """\
Name the classes of recordings with a fine-tuned checkpoint, the most probable first. A recording
that is longer than the clips of the fine-tuning is cut into parts of that length, and the
probabilities of its parts are averaged, weighted by duration.
"""

ACTIVATIONS = ("sigmoid", "softmax")
DEFAULT_FRAMES = 1024  # of a classifier that was trained on clips of any length


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat tag`."""
    parser.description = DESCRIPTION
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio file, of any format")
    parser.add_argument("--checkpoint", required=True, help="a fine-tuned EAT checkpoint")
    parser.add_argument(
        "--top", type=whole_number(1), default=10, help="classes to name (default: %(default)s)"
    )
    parser.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        help="sigmoid: any number of classes at once, as in AudioSet; softmax: exactly one, as in"
        " ESC-50 (default: the checkpoint's; sigmoid if it does not say)",
    )
    add_device_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON array, for programs")


class Tag(NamedTuple):
    """A class of a clip."""

    label: str
    probability: float


class Tagger:
    """A classifier that returns probabilities, as one token that stands for the window."""

    def __init__(self, classifier: "Classifier", activation: str) -> None:
        from eat.features import TokenLayout

        self.layout = TokenLayout(num_summary=1, tokens_per_row=0)
        self._classifier = classifier
        self._activation = activation

    def __call__(self, source: "Tensor", lengths: "Optional[Tensor]") -> "Tensor":
        """(B, 1, T, F) -> (B, 1, C) probabilities, on the CPU."""
        import torch

        with torch.no_grad():
            logits = self._classifier(source, lengths)
        is_single = self._activation == "softmax"
        probabilities = logits.softmax(dim=1) if is_single else logits.sigmoid()
        return probabilities.unsqueeze(1).cpu()


def run(args: argparse.Namespace) -> int:
    """Print the labels of files; 1 if some could not be read."""
    from eat.checkpoint import load_classifier

    device = choose_device(args.device)
    classifier = load_classifier(args.checkpoint, device)
    labels = classifier.labels or [str(index) for index in range(classifier.config.num_classes)]
    activation = args.activation or classifier.activation or ACTIVATIONS[0]
    results = make_pipeline(classifier, device).run(args.files, Tagger(classifier, activation))
    tags: Dict[int, List[Tag]] = {}
    failures: Dict[int, str] = {}
    for index, probabilities, error in show_progress(
        results, len(args.files), "tagging", failed=lambda result: result.error is not None
    ):
        if error is None:
            tags[index] = top_tags(probabilities, labels, args.top)
        else:
            failures[index] = str(error).removeprefix(f"{args.files[index]}: ")
    in_order = [(args.files[index], tags[index]) for index in sorted(tags)]
    print(as_json(in_order) if args.json else as_text(in_order))
    for index in sorted(failures):
        print(f"failed {args.files[index]}: {failures[index]}", file=sys.stderr)
    return 1 if failures else 0


def make_pipeline(classifier: "Classifier", device: str) -> "Pipeline":
    """Windows of the length that the classifier was trained on."""
    import torch

    from eat.features import STEP_SECONDS, Pipeline

    log_mel = classifier.log_mel
    num_rows = (log_mel.target_length or DEFAULT_FRAMES) // log_mel.patch_size
    return Pipeline(log_mel, num_rows * STEP_SECONDS, 0.0, device=torch.device(device))


def top_tags(probabilities: "Tensor", labels: Sequence[str], top: int) -> List[Tag]:
    """The most probable classes of a clip.

    Args:
        probabilities: (C,).
        labels: their names.
        top: how many to return at most.
    """
    values, indices = probabilities.sort(descending=True, stable=True)
    order = zip(indices[:top].tolist(), values.tolist(), strict=False)
    return [Tag(labels[index], value) for index, value in order]


def as_text(tags: Sequence[Tuple[str, List[Tag]]]) -> str:
    """A table per file."""
    lines = []
    for path, tags_of_file in tags:
        lines.append(path)
        lines.extend(f"  {tag.probability:.4f}  {tag.label}" for tag in tags_of_file)
    return "\n".join(lines)


def as_json(tags: Sequence[Tuple[str, List[Tag]]]) -> str:
    """An array with `path` and `tags` of each file."""
    files = [{"path": path, "tags": [tag._asdict() for tag in found]} for path, found in tags]
    return json.dumps(files, indent=2)
