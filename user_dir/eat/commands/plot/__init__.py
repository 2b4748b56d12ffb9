"""`eat plot`: figures of runs, clips and checkpoints, as PNG and SVG."""

import argparse

from ..actions import add_actions
from ..actions import run_action as run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "figures of training runs, clips, masks and checkpoints, as PNG and SVG"

ACTIONS = ("attention", "classes", "clip", "curves", "embeddings", "masks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __package__, ACTIONS)
