"""The options of a subcommand: a dataclass with one documented field for each.

    @dataclass(kw_only=True)
    class Options:
        \"\"\"Write the features of recordings.

        This docstring is what `--help` says first; its first line stands in lists of commands.
        \"\"\"

        EXAMPLE: ClassVar[str] = "eat extract recordings --checkpoint eat.pt --out features"

        inputs: List[str] = argument("audio file, folder or manifest (.tsv)", metavar="INPUT")
        checkpoint: str = option("any EAT checkpoint")  # no default: it must be given
        batch_size: int = option("clips in one pass at most", 32, at_least=1)
        dtype: str = option("what to compute in", "float32", choices=("float32", "bfloat16"))
        force: bool = option("replace what is there", False)

The annotation gives the type: str, int, float, bool (a flag), Optional of one of them, or a List,
which takes several values. Options may also inherit a dataclass of `eat.settings.setting` fields.
"""

import argparse
import inspect
import math
import typing
from collections import defaultdict
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Callable, List, Optional, Sequence, Type

from eat.settings import setting


@dataclass
class _Details:
    """What a field says about itself, beside name, type and default."""

    help: str  # what it does, in words that stand alone; the default is added
    at_least: float = -math.inf  # the range of a number, up to `below`
    below: float = math.inf
    choices: Optional[Sequence[Any]] = None  # the values that are possible
    metavar: Optional[str] = None  # what `--help` calls its value
    parse: Optional[Callable[[str], Any]] = None  # makes the value, or raises a ValueError
    one_of: Optional[str] = None  # exactly one of the fields that share this word must be given
    flag: Optional[str] = None  # what the command line calls it, if not by its name
    several: bool = False  # several values are taken: a case is run for each
    is_positional: bool = False


def argument(help_text: str, metavar: Optional[str] = None, default: Any = MISSING) -> Any:
    """A field that is given by its position; a List with a default may be empty."""
    return setting(help_text, default, metavar=metavar, is_positional=True)


# A field that is given as `--name VALUE`, or `--name` if it is a bool.
option = setting


def add_options(parser: argparse.ArgumentParser, options: Type[Any]) -> None:
    """Declare the fields of a dataclass on a parser, with its docstring as description."""
    parser.description = inspect.cleandoc(options.__doc__ or "")
    show_example(parser, options)
    types = typing.get_type_hints(options)
    groups = defaultdict(lambda: parser.add_mutually_exclusive_group(required=True))
    for one in sorted(fields(options), key=_has_default):  # what must be given comes first
        details = _Details(**one.metadata)
        target = groups[details.one_of] if details.one_of else parser
        _add(target, one, types[one.name], details)


def show_example(parser: argparse.ArgumentParser, options: Type[Any]) -> None:
    """End the help of a parser with the example of a dataclass of options."""
    parser.epilog = f"example:\n  {options.EXAMPLE}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def summary(options: Type[Any]) -> str:
    """The first line of what a dataclass of options says, without its full stop."""
    text = inspect.cleandoc(options.__doc__ or "").splitlines()[0].rstrip(".")
    return text[:1].lower() + text[1:]


def _has_default(one: Field) -> bool:
    return one.default is not MISSING or one.default_factory is not MISSING


def _add(target: Any, one: Field, annotation: Any, details: _Details) -> None:
    kind, is_list = _kind_of(annotation)
    flag = f"--{details.flag or one.name.replace('_', '-')}"
    text = details.help.replace("%", "%%")
    if kind is bool:
        target.add_argument(flag, dest=one.name, action="store_true", help=text)
        return
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    if default not in (MISSING, None, []):
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        text += f" (default: {shown})"
    how = {"help": text, "metavar": details.metavar, "choices": details.choices}
    how["type"] = _parser_of(kind, details)
    if is_list or details.several:
        may_be_empty = details.is_positional and default is not MISSING
        how["nargs"] = "*" if may_be_empty else "+"
    if details.is_positional:
        target.add_argument(one.name, **how)
        return
    how["default"] = None if default is MISSING else default
    required = default is MISSING and details.one_of is None
    target.add_argument(flag, dest=one.name, required=required, **how)


def _kind_of(annotation: Any) -> "tuple[type, bool]":
    """The type of one value, and whether there may be several: List[int] -> (int, True)."""
    arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
    if typing.get_origin(annotation) in (list, List):
        return arguments[0], True
    if typing.get_origin(annotation) is typing.Union:
        return _kind_of(arguments[0])
    return annotation, False


def _parser_of(kind: type, details: _Details) -> Callable[[str], Any]:
    """What turns the text of one value into the value, or says what was expected."""
    low, high = details.at_least, details.below
    expected = "a whole number" if kind is int else "a number"
    expected += f" of at least {low:g}" if low > -math.inf else ""
    expected += f" and below {high:g}" if high < math.inf else ""

    def parse(text: str) -> Any:
        if details.parse is not None:
            try:
                return details.parse(text)
            except ValueError as error:
                raise argparse.ArgumentTypeError(str(error)) from error
        if kind not in (int, float):
            return text
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value < high or not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
        return value

    return parse
