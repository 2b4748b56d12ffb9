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
which takes several values.
"""

import argparse
import inspect
import math
import typing
from dataclasses import MISSING, Field, field, fields
from typing import Any, Callable, Dict, List, Optional, Sequence, Type, TypeVar

Options = TypeVar("Options")


def argument(help_text: str, metavar: Optional[str] = None, default: Any = MISSING) -> Any:
    """A field that is given by its position; a List with a default may be empty."""
    metadata = {"help": help_text, "metavar": metavar, "is_positional": True}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default_factory=lambda: list(default), metadata=metadata)


def option(
    help_text: str,
    default: Any = MISSING,
    *,
    at_least: float = -math.inf,
    below: float = math.inf,
    choices: Optional[Sequence[Any]] = None,
    metavar: Optional[str] = None,
    parse: Optional[Callable[[str], Any]] = None,
    one_of: Optional[str] = None,
) -> Any:
    """A field that is given as `--name VALUE`, or `--name` if it is a bool.

    Args:
        help_text: what it does, in words that stand alone; the default is added.
        default: its value if it is not given; without one it must be.
        at_least, below: the range of a number.
        choices: the values that are possible.
        metavar: what `--help` calls its value.
        parse: makes the value of the text, or raises a ValueError; None: by the annotation.
        one_of: exactly one of the fields that share this word must be given.
    """
    metadata = {
        "help": help_text,
        "at_least": at_least,
        "below": below,
        "choices": choices,
        "metavar": metavar,
        "parse": parse,
        "one_of": one_of,
    }
    if isinstance(default, (list, tuple)):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def add_options(parser: argparse.ArgumentParser, options: Type[Any]) -> None:
    """Declare the fields of a dataclass on a parser, with its docstring as description."""
    parser.description = inspect.cleandoc(options.__doc__ or "")
    example = getattr(options, "EXAMPLE", None)
    parser.epilog = f"example:\n  {example}" if example else None
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    types = typing.get_type_hints(options)
    groups: Dict[str, Any] = {}
    for one in sorted(fields(options), key=_has_default):  # what must be given comes first
        target: Any = parser
        name = one.metadata.get("one_of")
        if name is not None:
            if name not in groups:
                groups[name] = parser.add_mutually_exclusive_group(required=True)
            target = groups[name]
        _add(target, one, types[one.name])


def _has_default(one: Field) -> bool:
    return one.default is not MISSING or one.default_factory is not MISSING


def summary(options: Type[Any]) -> str:
    """The first line of what a dataclass of options says, without its full stop."""
    text = inspect.cleandoc(options.__doc__ or "").splitlines()[0].rstrip(".")
    return text[:1].lower() + text[1:]


def collect(options: Type[Options], args: argparse.Namespace) -> Options:
    """The values of a dataclass's fields out of what was parsed."""
    return options(**{one.name: getattr(args, one.name) for one in fields(options)})


def _add(parser: Any, one: Field, annotation: Any) -> None:
    kind, is_list = _kind_of(annotation)
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    settings: Dict[str, Any] = {"help": _help(one, default), "metavar": one.metadata.get("metavar")}
    if kind is bool:
        parser.add_argument(_flag(one), action="store_true", help=one.metadata["help"])
        return
    is_positional = one.metadata.get("is_positional")
    settings["type"] = _parser_of(kind, one)
    settings["choices"] = one.metadata.get("choices")
    if is_list:
        settings["nargs"] = "+" if default is MISSING or not is_positional else "*"
    if is_positional:
        parser.add_argument(one.name, **settings)
        return
    is_alone = one.metadata.get("one_of") is None
    settings["required"] = is_alone and default is MISSING
    settings["default"] = None if default is MISSING else default
    parser.add_argument(_flag(one), **settings)


def _kind_of(annotation: Any) -> "tuple[type, bool]":
    """The type of one value, and whether there may be several: List[int] -> (int, True)."""
    arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
    if typing.get_origin(annotation) in (list, List):
        return arguments[0], True
    if typing.get_origin(annotation) is typing.Union:
        return _kind_of(arguments[0])
    return annotation, False


def _flag(one: Field) -> str:
    return f"--{one.name.replace('_', '-')}"


def _help(one: Field, default: Any) -> str:
    text = one.metadata["help"].replace("%", "%%")
    if default in (MISSING, None, []):
        return text
    shown = " ".join(map(str, default)) if isinstance(default, list) else default
    return f"{text} (default: {shown})"


def _parser_of(kind: type, one: Field) -> Callable[[str], Any]:
    """What turns the text of one value into the value, or says what was expected."""
    own = one.metadata.get("parse")
    low, high = one.metadata.get("at_least", -math.inf), one.metadata.get("below", math.inf)

    def parse(text: str) -> Any:
        if own is not None:
            try:
                return own(text)
            except ValueError as error:
                raise argparse.ArgumentTypeError(str(error)) from error
        if kind not in (int, float):
            return text
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value < high or not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {_range(kind, low, high)}")
        return value

    return parse


def _range(kind: type, low: float, high: float) -> str:
    name = "a whole number" if kind is int else "a number"
    if low > -math.inf:
        name += f" of at least {low:g}"
    return name + (f" and below {high:g}" if high < math.inf else "")
