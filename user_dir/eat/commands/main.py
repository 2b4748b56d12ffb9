"""The entry point of `eat`: reads the arguments and hands them to a subcommand.

Each subcommand is the module of its name in this package; only the one that is called is imported.
It has

    Options                 its options, see `commands.options`
    run(options) -> int     does the work and returns the exit status

or, if it is made of actions such as `eat manifest folder`,

    ACTIONS                 {name of the action: (its options, its function)}
"""

import argparse
import gc
import importlib
import io
import itertools
import os
import select
import sys
from dataclasses import fields
from typing import Any, Optional, Sequence

from eat import __version__
from eat.words import nearest

from .options import add_options, show_example, summary

COMMANDS = {
    "benchmark": "speed and memory of this machine",
    "convert": "convert a checkpoint to another layout",
    "doctor": "what is installed, and what of it works",
    "evaluate": "metrics of a fine-tuned checkpoint on labelled clips",
    "extract": "features of audio files, folders and manifests",
    "manifest": "list the audio files of a data set in manifests",
    "plot": "figures of training runs, clips, masks and checkpoints",
    "probe": "what frozen features of labelled clips hold, against an untrained encoder",
    "report": "everything about a training run on one page",
    "stats": "mean and standard deviation of a manifest's log-mel values",
    "tag": "the most probable classes of audio files, by a fine-tuned checkpoint",
    "train": "run a recipe, with progress and time left",
}

_STDOUT = 1  # its file descriptor

EXIT_STATUS = """\
exit status:
  0  everything was done
  1  the work failed, or some inputs had to be left out
  2  wrong usage

example:
  eat stats manifests/mine/train.tsv
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command, with the process's arguments unless some are given.

    Returns the exit status: 0, or 1 when the work or some of its inputs failed; 130 after Ctrl-C,
    141 when nobody reads what is printed any more. Wrong usage exits with 2, `--help` with 0.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    args = _build_parser(argv).parse_args(argv)
    gc.set_threshold(100_000)  # objects; by default collecting takes a sixth of `import torch`
    _accept_any_name()
    try:
        status = args.function(args)
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


def _build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command that is called; of the others it knows the names."""
    parser = _Parser(
        prog="eat",
        description="EAT (Efficient Audio Transformer): data, features and checkpoints.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"eat {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    called = next((word for word in argv if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        command = subparsers.add_parser(name, help=text, description=text)
        if name != called:
            continue
        module = importlib.import_module(f".{name}", __package__)
        if hasattr(module, "Options"):
            _declare(command, module.Options, module.run)
            continue
        actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
        for action, (options, function) in module.ACTIONS.items():
            _declare(actions.add_parser(action, help=summary(options)), options, function)
        first, _ = next(iter(module.ACTIONS.values()))
        show_example(command, first)
    return parser


class _Parser(argparse.ArgumentParser):
    """Names an option that does not exist before it misses one that must be given."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known = self._option_string_actions
        is_leaf = self._subparsers is None
        for word in itertools.takewhile(lambda word: word != "--", args if is_leaf else ()):
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                self.error(f"unrecognized option {name}{nearest(name, known)}")
        return super().parse_known_args(args, namespace)


def _declare(parser: argparse.ArgumentParser, options: Any, function: Any) -> None:
    add_options(parser, options)
    names = [one.name for one in fields(options)]
    parser.set_defaults(
        function=lambda args: function(options(**{name: getattr(args, name) for name in names}))
    )


def _nobody_reads() -> bool:
    """Whether what is printed goes to a program that has ended, as in `eat ... | head`."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(_STDOUT, 0)  # errors are always told
    if not poll.poll(0):
        return False
    # What is left to print would fail once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return True


def _accept_any_name() -> None:
    """Print names that the terminal cannot show with escapes, as on the error stream.

    Otherwise printing such a name would end a command after its work.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
