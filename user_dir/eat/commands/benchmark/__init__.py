"""`eat benchmark`: how fast this machine runs EAT, and what limits it.

Each action is the module of its name in this package, with the members that `commands.main` asks of
a subcommand.
"""

import argparse
import importlib

HELP = "speed and memory of training on this machine"

ACTIONS = ("train",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name in ACTIONS:
        module = importlib.import_module(f".{name}", __package__)
        action = actions.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(action)
        action.set_defaults(run_action=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    return args.run_action(args)
