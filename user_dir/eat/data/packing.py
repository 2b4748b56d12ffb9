"""Put the clips of a manifest into packs: a few large files instead of millions of small ones."""

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from eat.audio import AudioError
from eat.audio.packing import ZipPack
from eat.audio.packs import list_zip, spell_out
from eat.files import find_unfinished, lock_file, replace_file
from eat.work import Failure, is_failure, map_ahead, show_progress

from .split import Clip, Split
from .writing import open_to_rewrite, unreadable_file, write_data_set

_READ_AHEAD = 256  # clips


class Packs(NamedTuple):
    """The packs of a manifest."""

    manifest: str  # the file that lists the clips in the packs
    paths: List[str]
    num_clips: int
    left_out: List[Failure]

    @property
    def num_bytes(self) -> int:
        return sum(map(os.path.getsize, self.paths))


def pack_manifest(
    manifest: str, out: str, pack_gb: float = 2.0, force: bool = False, num_workers: int = 16
) -> Packs:
    """Put the clips of a manifest into uncompressed zips, and list them there, with their labels.

    Every clip is read back from its pack and compared before the pack counts. A run that was
    interrupted goes on after the last complete pack when it is called again. Packs and manifest can
    be moved together. Clips that cannot be packed are listed in `NAME.unreadable.tsv`. A pack is
    full at `pack_gb` GB. With `force` an old manifest and its packs are replaced.

    Raises:
        FileExistsError: `out` has a manifest of this name, without `force`.
        ValueError: a bad manifest, `out` is its own folder or has packs of another manifest, a
            pack differs from its clips, or no clip can be packed.
        eat.files.InUseError: another process does the same.
    """
    name = Path(manifest).stem
    packer = _Packer(open_to_rewrite(manifest, out, None, force), os.path.join(out, name))
    with lock_file(os.path.join(out, f"{name}.pack.lock")):
        todo = packer.resume(force)
        with ThreadPoolExecutor(num_workers) as executor:
            packer.pack(packer.read(todo, executor), pack_gb * 1e9)
        clips, left_out = packer.list_clips()
        descriptors = packer.split.descriptors
        write_data_set(out, ".", {name: clips}, descriptors, left_out, unreadable_file(name), force)
    return Packs(os.path.join(out, f"{name}.tsv"), packer.packs, len(clips), left_out)


class _Packer:
    """Fills one pack after the other, called `{prefix}-00000.zip` and so on."""

    def __init__(self, split: Split, prefix: str) -> None:
        self.split, self._prefix = split, prefix
        self._manifest = split.manifest
        self._addresses: Dict[str, str] = {}  # of the members of complete packs, by their names
        self._reasons: Dict[str, str] = {}  # why clips cannot be packed, by their names
        self._clip_of: Dict[str, int] = {}  # a clip that is listed several times is packed once
        for clip, path in enumerate(self._manifest.relative_paths()):
            self._clip_of.setdefault(self._name(path), clip)

    @property
    def packs(self) -> List[str]:
        """The complete packs."""
        return list(takewhile(os.path.exists, map(self._pack, count())))

    def resume(self, force: bool) -> Sequence[int]:
        """Take over an interrupted run's packs, or remove them; returns the clips left to pack."""
        next_one = os.path.abspath(self._pack(len(self.packs)))
        for path, place in find_unfinished(os.path.dirname(self._prefix)):
            if place == next_one:  # a killed run was writing it
                os.remove(path)
        for pack in self.packs if force else ():
            os.remove(pack)
        for pack in self.packs:
            self._take_over(pack)
            unknown = self._addresses.keys() - self._clip_of.keys()
            if unknown:
                raise ValueError(
                    f"{pack}: found {min(unknown)!r} where {self._manifest.file} has other clips,"
                    " expected packs of the same manifest (--force starts anew)"
                )
        return [clip for name, clip in self._clip_of.items() if name not in self._addresses]

    def read(self, clips: Sequence[int], executor: Executor) -> Iterator[Tuple[str, Any]]:
        """Yield name and content of the clips that can be read, with a progress bar."""
        loaded = map_ahead(clips, self._load, executor, _READ_AHEAD)
        for clip, content in show_progress(
            loaded, len(clips), "packing", failed=lambda pair: is_failure(pair[1])
        ):
            name = self._name(self._manifest.relative_path(clip))
            if is_failure(content):
                self._reasons[name] = content.reason
            else:
                yield name, content

    def pack(self, clips: Iterator[Tuple[str, Any]], max_bytes: float) -> None:
        """Fill packs with clips, as long as there are any, and compare each pack with them."""
        for first in clips:
            path = self._pack(len(self.packs))
            with replace_file(path) as file, closing(ZipPack(file)) as pack:
                for name, content in chain([first], clips):
                    try:
                        pack.add(name, content)
                    except ValueError as error:
                        self._reasons[name] = Failure.of(name, error).reason
                    if pack.num_bytes >= max_bytes:
                        break
                pack.finish()
            self._take_over(path)

    def list_clips(self) -> Tuple[List[Clip], List[Failure]]:
        """The clips in the packs, by their addresses there, and those that were left out."""
        clips, left_out = [], []
        for clip, path in enumerate(self._manifest.relative_paths()):
            name = self._name(path)
            if self._manifest.relative_path(self._clip_of[name]) != path:
                reason = f"another clip is called {name!r} too, as packs have it: rename it"
                left_out.append(Failure(path, reason))
            elif name in self._addresses:
                clips.append(self.split.clip(clip)._replace(path=self._addresses[name]))
            else:
                left_out.append(Failure(path, self._reasons[name]))
        return clips, left_out

    def _load(self, clip: int) -> Any:
        path = self._manifest.path(clip)
        try:
            return ZipPack.load(path)
        except (ValueError, OSError) as error:
            return Failure.of(path, error)

    def _take_over(self, pack: str) -> None:
        """Note where the clips of a pack are; remove one without clips, which were all refused."""
        members = list(list_zip(pack))
        for name, offset, length in members:
            self._addresses[name] = f"{os.path.basename(pack)}:{offset}:{length}"
        if not members:
            os.remove(pack)

    def _name(self, path: str) -> str:
        """A clip's path below the root in UTF-8, or its name in the zip that it is in already."""
        with suppress(AudioError, OSError):  # of an archive that cannot be read, see `_load`
            path = spell_out(path, self._manifest.root)
        name = os.path.normpath(path)
        return os.fsencode(name).decode(errors="replace")

    def _pack(self, number: int) -> str:
        return f"{self._prefix}-{number:05}.zip"
