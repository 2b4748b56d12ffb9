"""Commands that are made of actions, such as `eat manifest folder`.

Each action is the module of its name in the command's package, with the members that
`commands.main` asks of a subcommand; a dash in the action's name is an underscore in the module's.
"""

import argparse
import importlib
from typing import Sequence


def add_actions(parser: argparse.ArgumentParser, package: str, names: Sequence[str]) -> None:
    """Declare the actions of a command and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name in names:
        module = importlib.import_module(f".{name.replace('-', '_')}", package)
        action = actions.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(action)
        action.set_defaults(run_action=module.run)


def run_action(args: argparse.Namespace) -> int:
    """Run the chosen action; the `run` of such a command."""
    return args.run_action(args)
