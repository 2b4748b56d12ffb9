"""`eat tag`: the most probable classes of recordings."""

import json
from dataclasses import dataclass
from typing import ClassVar, List, Optional

from .options import argument, option
from .shared import CHECKPOINT, DeviceOption, LabelsOption, print_failures


@dataclass(kw_only=True)
class Options(DeviceOption, LabelsOption):
    """Name the classes of recordings with a fine-tuned checkpoint, the most probable first.

    A recording that is longer than the clips of the fine-tuning is cut into parts of that length,
    and the probabilities of its parts are averaged, weighted by duration.
    """

    EXAMPLE: ClassVar[str] = "eat tag dog.flac rain.wav --checkpoint EAT-base_epoch30_ft.pt --top 3"

    inputs: List[str] = argument("audio file, folder, or manifest (.tsv)", metavar="INPUT")
    checkpoint: str = option(f"{CHECKPOINT}; fine-tuned")
    top: int = option("classes to name of each file", 10, at_least=1)
    activation: Optional[str] = option(
        "sigmoid: any number of classes at once, as in AudioSet; softmax: exactly one, as in"
        " ESC-50. Not given: the checkpoint's, or sigmoid if it does not say",
        None,
        choices=("sigmoid", "softmax"),
    )
    json: bool = option("print one JSON array instead of a table, for programs", False)


def run(options: Options) -> int:
    """Print the tags of files; 1 if some could not be read."""
    from eat.checkpoint import load_classifier
    from eat.evaluation import tag
    from eat.machine import choose_device
    from eat.nn import pack_linears

    classifier = pack_linears(load_classifier(options.checkpoint, choose_device(options.device)))
    tagging = tag(options.inputs, classifier, options.top, options.activation)
    if options.json:
        found = [
            {"path": path, "tags": [one._asdict() for one in tags]} for path, tags in tagging.files
        ]
        print(json.dumps(found, indent=2))
    else:
        for path, tags in tagging.files:
            print(path, *(f"  {one.probability:.4f}  {one.label}" for one in tags), sep="\n")
    return print_failures(tagging.failures, tagging.other_files)
