"""`eat convert`: write a checkpoint in another layout."""

from dataclasses import dataclass
from typing import ClassVar, Optional

from eat.checkpoint import LAYOUTS
from eat.features import WeightsOption

from .options import argument, option
from .shared import CHECKPOINT, LabelsOption


@dataclass(kw_only=True)
class Options(WeightsOption, LabelsOption):
    """Convert a checkpoint to another layout.

    Weights are copied to the bit, but for --quantize. Optimizer state and file paths are left out.
    A published Hugging Face folder, whose own code fails with transformers 5, becomes one that
    works with it by --to huggingface.
    """

    EXAMPLE: ClassVar[str] = "eat convert EAT-base_epoch30_ft.pt classifier --to huggingface"

    source: str = argument(CHECKPOINT, metavar="IN")
    destination: str = argument("file to write; for --to huggingface a folder", metavar="OUT")
    to: str = option(
        "layout of OUT. eat: for this package, with decoder and teacher; official: for the"
        " released code, with decoder and teacher; safetensors, onnx: the encoder or classifier"
        " alone; huggingface: the same, as a folder for transformers",
        choices=tuple(LAYOUTS),
    )
    input: Optional[str] = option(
        "with --to onnx: what the graph takes. spectrogram: normalised log-mel; waveform: 16 kHz"
        " mono, and a classifier then returns probabilities. Not given: spectrogram",
        None,
        choices=("spectrogram", "waveform"),
    )
    quantize: Optional[str] = option(
        "with --to onnx: weights as 8-bit integers, a quarter of the size and faster on a CPU;"
        " results differ in the second or third digit",
        None,
        choices=("int8",),
    )
    force: bool = option("replace OUT if it exists", False)
    license: Optional[str] = option(
        "licence of the weights for the model card that --to huggingface writes, as the Hub calls"
        " it: mit, cc-by-4.0 (default: unknown)",
        None,
    )
    name: Optional[str] = option(
        "name of the model, the title of that card (default: what kind of EAT it is)", None
    )


def run(options: Options) -> int:
    """Convert the checkpoint."""
    from eat.checkpoint import convert_checkpoint

    convert_checkpoint(**vars(options))
    print(f"{options.destination}: {options.to} layout, from {options.source}")
    return 0
