"""Words that messages of all rooms share."""

import difflib
from typing import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """Words for a message that name the most similar of some names; empty if none is similar."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; the nearest is {close[0]}" if close else ""
