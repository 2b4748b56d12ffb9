"""`eat manifest`: list the clips of a data set."""

import argparse

from ..actions import add_actions
from ..actions import run_action as run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "list the audio files of a data set in manifests"

ACTIONS = ("audioset", "check", "esc50", "folder", "pack", "speech-commands")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __package__, ACTIONS)
