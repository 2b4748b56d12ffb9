"""`eat convert`: write a checkpoint in another layout."""

import argparse

HELP = "convert a checkpoint to another layout"

# Spelled out, as importing the writers takes seconds; a test compares.
LAYOUTS = ("eat", "official", "huggingface", "safetensors", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat convert`."""
    parser.add_argument(
        "source", metavar="IN", help="checkpoint: ours, released .pt, Hugging Face folder or file"
    )
    parser.add_argument("destination", metavar="OUT", help="file, or folder for huggingface")
    parser.add_argument(
        "--to",
        required=True,
        choices=LAYOUTS,
        help="eat: for this package, with decoder and teacher; official: for the released code,"
        " likewise; huggingface: a folder for transformers; safetensors, onnx: the encoder or"
        " classifier alone",
    )
    parser.add_argument(
        "--weights",
        choices=("student", "teacher"),
        default="student",
        help="whose weights become the encoder (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-teacher", action="store_true", help="keep decoder and teacher in safetensors too"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT")


def run(args: argparse.Namespace) -> int:
    """Convert the checkpoint."""
    from ..checkpoint import convert_checkpoint

    convert_checkpoint(
        args.source, args.destination, args.to, args.weights, args.keep_teacher, args.force
    )
    print(f"{args.destination}: {args.to} layout, from {args.source}")
    return 0
