"""Which audio file a table means by a name."""

import os
import unicodedata
from collections import defaultdict
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ..labels import clip_spellings

_PathsOf = Dict[str, List[str]]


def normal_form(text: str) -> str:
    """A text without blanks around it, in the Unicode form NFC: é is one character, not two."""
    return unicodedata.normalize("NFC", text.strip())


def _loose_form(text: str) -> str:
    return normal_form(text).replace("\\", "/").casefold()


class FileNames:
    """Files below a root, by the names that tables give them.

    A name is a path below the root, an absolute path or the name of a file alone, with or without
    extension. What is called exactly so counts first; then blanks around a name and its Unicode
    form do not matter, on both sides. Last, it is a path from the working directory, as `eat tag`
    prints it.
    """

    def __init__(self, root: str, paths: Sequence[str]) -> None:
        self._root, self._paths = root, paths
        self._indices: Dict[Callable[[str], str], Tuple[_PathsOf, _PathsOf]] = {}
        self._loosely: Dict[Callable[[str], str], List[str]] = {str.strip: [], normal_form: []}

    def find(self, name: str) -> List[str]:
        """The paths of the files that a name stands for; none, or several if it is ambiguous."""
        paths = self._look_up(name, str)
        for form, names in self._loosely.items():
            if not paths:
                paths = self._look_up(name, form)
                names += [name] * bool(paths)
        if not paths and os.path.exists(name):
            return self._look_up(os.path.abspath(name), str)
        return paths

    def find_near(self, name: str) -> Optional[str]:
        """A file whose name differs in case or slashes, which `find` does not take."""
        return next(iter(self._look_up(name, _loose_form)), None)

    @property
    def notes(self) -> Iterator[str]:
        """How many names were found that are not exactly those of files."""
        differences = ("blanks around them", "their Unicode form (NFC, NFD)")
        for names, what in zip(self._loosely.values(), differences, strict=True):
            if names:
                yield f"{len(names)} names fit those of files but for {what}, e.g. {names[0]!r}"

    def _look_up(self, name: str, form: Callable[[str], str]) -> List[str]:
        name, root = form(name), form(self._root)
        name = os.path.normpath(os.path.relpath(name, root) if os.path.isabs(name) else name)
        indices = [self._index(one) for one in dict.fromkeys((str, form))]
        for spellings in zip(*indices, strict=True):
            paths = [path for paths_of in spellings for path in paths_of.get(name, ())]
            if paths:
                return list(dict.fromkeys(paths))
        return []

    def _index(self, form: Callable[[str], str]) -> Tuple[_PathsOf, _PathsOf]:
        """The files by their paths, and by these without folders, extension or both, in a form;
        names that have the form anyway are in the first index.
        """
        if form not in self._indices:
            self._indices[form] = whole, short = defaultdict(list), defaultdict(list)
            for path in self._paths:
                for paths_of, names in ((whole, {path}), (short, {*clip_spellings(path)})):
                    for name in names:
                        if form is str or form(name) != name:
                            paths_of[form(name)].append(path)
        return self._indices[form]
