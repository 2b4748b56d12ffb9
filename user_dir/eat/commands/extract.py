"""`eat extract`: the features of recordings, in files."""

from dataclasses import dataclass
from typing import ClassVar, List

from eat.features import ExtractionSettings

from .options import argument, option
from .shared import CHECKPOINT, CheckpointOptions, print_failures


@dataclass(kw_only=True)
class Options(CheckpointOptions, ExtractionSettings):
    """Write the features of recordings of any length, format and rate.

    OUT gets one .npy file per input, in the folders that the input has below the folder or manifest
    that names it, or one file features.npz or features.safetensors with all of them. An interrupted
    run continues when it is started again: features that are there are skipped. OUT/settings.json
    says how the features were made; other settings need another folder. The features of a clip do
    not depend on --shard, up to rounding (float32: 1e-5; none with --batch-size 1).
    """

    EXAMPLE: ClassVar[str] = "eat extract recordings --checkpoint eat.pt --out features"

    inputs: List[str] = argument("audio file, folder, tar, or manifest (.tsv)", metavar="INPUT")
    checkpoint: str = option(CHECKPOINT)
    out: str = option("folder to write to")


def run(options: Options) -> int:
    """Extract features; 1 if inputs had to be left out."""
    from eat.features import extract_to_folder

    done = extract_to_folder(options.inputs, options.checkpoint, options.out, options)
    print(
        f"{options.out}: {done.num_extracted} clips extracted"
        f" ({done.num_extracted / done.seconds:.1f} per second),"
        f" {done.num_present} were there already, {len(done.failures)} failed"
    )
    return print_failures(done.failures, done.other_files)
