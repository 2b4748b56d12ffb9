"""The entry point of `eat`: reads the arguments and hands them to a subcommand.

Each subcommand is the module of its name in this package, with

    HELP                    one line for the list of commands
    add_arguments(parser)   declares its arguments
    run(args) -> int        does the work and returns the exit status

Modules import what is slow to import (torch) inside `run`, so that `eat --help` is immediate.
"""

import argparse
import importlib
import io
import os
import select
import sys
from typing import Optional, Sequence

from .. import __version__

COMMANDS = (
    "benchmark",
    "convert",
    "doctor",
    "evaluate",
    "extract",
    "manifest",
    "plot",
    "probe",
    "report",
    "stats",
    "tag",
)

_STDOUT = 1  # its file descriptor

EXIT_STATUS = """\
exit status:
  0  everything was done
  1  the work failed, or some inputs had to be left out
  2  wrong usage
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None takes the process's.

    Returns:
        The exit status: 0, or 1 when the work or some of its inputs failed; 130 after Ctrl-C, 141
        when nobody reads what is printed any more.

    Raises:
        SystemExit: with status 2 on wrong usage, 0 after `--help` and `--version`.
    """
    modules = {name: importlib.import_module(f".{name}", __package__) for name in COMMANDS}
    parser = _build_parser(modules)
    args = parser.parse_args(argv)
    _accept_any_name()
    try:
        status = modules[args.command].run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"eat {args.command}: interrupted", file=sys.stderr)
        return 130  # 128 + SIGINT, as shells report it
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 141  # 128 + SIGPIPE, likewise
        print(f"eat {args.command}: error: {error}", file=sys.stderr)
        return 1


def _nobody_reads() -> bool:
    """Whether what is printed goes to a program that has ended, as in `eat ... | head`."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(_STDOUT, 0)  # errors are always told
    is_broken = bool(poll.poll(0))
    if is_broken:
        # What is left to print would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return is_broken


def _accept_any_name() -> None:
    """Print names that the terminal cannot show with escapes, as on the error stream.

    Else the first such name would end a command whose work is done.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _build_parser(modules: dict) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eat",
        description="EAT (Efficient Audio Transformer): data, features and checkpoints.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"eat {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in modules.items():
        module.add_arguments(subparsers.add_parser(name, help=module.HELP, description=module.HELP))
    return parser


if __name__ == "__main__":
    sys.exit(main())
