"""`eat manifest`: list the clips of a data set.

Each action is the module of its name in this package, with the members that `commands.main` asks of
a subcommand; a dash in the action's name is an underscore in the module's.
"""

import argparse
import importlib

HELP = "list the audio files of a data set in manifests"

ACTIONS = ("audioset", "esc50", "folder", "speech-commands")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name in ACTIONS:
        module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
        action = actions.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(action)
        action.set_defaults(run_action=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    return args.run_action(args)
