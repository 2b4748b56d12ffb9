"""How a benchmark says what it found: a table for people, JSON for programs."""

import argparse
import json
from typing import Any, Dict, List, Mapping, Sequence

from eat.files import replace_file


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--json` and `--out`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", metavar="FILE", help="also write the JSON to a file")


def report(args: argparse.Namespace, found: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Print what was found, and write it to `--out`.

    Args:
        args: with the values of `add_report_arguments`.
        found: `machine`, a flat dict; `cases`, a list of flat dicts; and whatever else.
        columns: key of a case -> heading, of what the table shows.
    """
    report_tables(args, found, {"cases": columns})


def report_tables(
    args: argparse.Namespace, found: Mapping[str, Any], tables: Mapping[str, Mapping[str, str]]
) -> None:
    """As `report`, with several lists of flat dicts; `tables` has the columns of each."""
    text = json.dumps(found, indent=2)
    if args.out:
        with replace_file(args.out) as file:
            file.write(f"{text}\n".encode())
    print(text if args.json else as_text(found, tables))


def as_text(found: Mapping[str, Any], tables: Mapping[str, Mapping[str, str]]) -> str:
    """The machine in a few lines, then the tables that have rows."""
    lines = [f"{name:<10} {value}" for name, value in found["machine"].items()]
    for name, columns in tables.items():
        if found[name]:
            lines += ["", *as_table(found[name], columns)]
    return "\n".join(lines)


def as_table(cases: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> List[str]:
    """Lines of a table; numbers to three digits or whole, columns that no case has are left out."""
    shown = {key: heading for key, heading in columns.items() if any(key in c for c in cases)}
    rows = [list(shown.values())]
    rows.extend([_as_cell(case.get(key, "")) for key in shown] for case in cases)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)) for row in rows]


def _as_cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
    return str(value)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Dict[str, Any]:
    """{"a": {"b": 1}} -> {"a_b": 1}."""
    flat: Dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}_"))
        else:
            flat[prefix + key] = value
    return flat
