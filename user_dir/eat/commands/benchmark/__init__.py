"""`eat benchmark`: how fast this machine runs EAT, and what limits it."""

import argparse

from ..actions import add_actions
from ..actions import run_action as run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "speed and memory on this machine"

ACTIONS = ("data", "extract", "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __package__, ACTIONS)
