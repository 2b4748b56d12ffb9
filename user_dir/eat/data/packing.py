"""Put the clips of a manifest into packs: a few large files instead of millions of small ones."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, count, takewhile
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from eat.audio.packing import ZipPack, member_name
from eat.files import find_unfinished, replace_file
from eat.work import Failure, is_failure, show_progress

from .headers import Clip
from .split import Split, open_split, split_of
from .writing import refuse_to_replace, unreadable_file, write_data_set

_CLIPS_AHEAD = 256  # are read at once by the threads


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

    Every clip is read back from its pack and compared before the pack counts. An interrupted run
    goes on after the last complete pack when it is called again. Packs and manifest can be moved
    together. Clips that cannot be read are left out and listed in `NAME.unreadable.tsv`.

    Args:
        manifest: the file.
        out: the folder to write to.
        pack_gb: size in GB at which a pack is full.
        force: replace a manifest and packs that are there.
        num_workers: threads that read clips.

    Raises:
        FileNotFoundError, FileExistsError: no manifest; `out` has one of this name.
        ValueError: a bad manifest, `out` is its own folder or has packs of another manifest, a
            pack differs from its clips, or no clip can be packed.
    """
    folder, name = split_of(manifest)
    if os.path.realpath(out) == os.path.realpath(folder):
        raise ValueError(f"--out: found the folder of {manifest}, expected another one")
    refuse_to_replace(out, [name], None, force)
    split = open_split(folder, name, labelled=False)
    os.makedirs(out, exist_ok=True)
    packer = _Packer(split, os.path.join(out, name))
    packer.clean_up(force)
    start = packer.resume()
    with ThreadPoolExecutor(num_workers) as executor:
        packer.pack(packer.read_clips(start, executor), pack_gb * 1e9)
    clips, left_out = packer.list_clips(), packer.failures
    write_data_set(
        out, ".", {name: clips}, split.descriptors, left_out, unreadable_file(name), force
    )
    return Packs(os.path.join(out, f"{name}.tsv"), packer.packs, len(clips), left_out)


class _Packer:
    """Fills one pack after the other.

    Args:
        split: the clips.
        prefix: the start of the packs' paths, `{prefix}-00000.zip`.

    Attributes:
        packs: the complete packs.
        failures: clips that cannot be packed.
    """

    def __init__(self, split: Split, prefix: str) -> None:
        self.packs: List[str] = []
        self.failures: List[Failure] = []
        self._split = split
        self._manifest = split.manifest
        self._prefix = prefix
        self._path_of: Dict[str, str] = {}  # of each member of a pack, below the manifest's root
        self._address_of: Dict[str, str] = {}  # of each member of a complete pack

    def clean_up(self, force: bool) -> None:
        """Remove the pack that a killed run was writing; with `force` the complete ones too."""
        existing = self._existing()
        next_one = os.path.abspath(self._pack(len(existing)))
        for unfinished in find_unfinished(os.path.dirname(self._prefix)):
            if unfinished.place == next_one:
                os.remove(unfinished.path)
        for pack in existing if force else ():
            os.remove(pack)

    def resume(self) -> int:
        """Take over the packs of an interrupted run; returns the clip to go on with."""
        for pack in self._existing():
            self._complete(pack)
        missing = set(self._address_of)
        clip = 0
        while missing and clip < len(self._manifest):
            name = self._name(clip)
            if name not in self._address_of:
                content = self._read(clip)
                if not is_failure(content):
                    break  # it was readable, so packs of this manifest would hold it
                self.failures.append(content)
            elif self._check_name(name, clip):
                missing.discard(name)
                self._path_of[name] = self._manifest.relative_path(clip)
            clip += 1
        if missing:
            name = min(missing)
            pack = self._address_of[name].rpartition(".zip:")[0]
            raise ValueError(
                f"{os.path.join(os.path.dirname(self._prefix), pack)}.zip: found {name!r} where"
                f" {self._manifest.file} has other clips, expected packs of the same manifest"
                " (--force starts anew)"
            )
        return clip

    def read_clips(self, start: int, executor: ThreadPoolExecutor) -> Iterator[Tuple[int, Any]]:
        """Yield the clips from `start` on that can be read, with a progress bar."""
        clips = range(start, len(self._manifest))
        blocks = (clips[i : i + _CLIPS_AHEAD] for i in range(0, len(clips), _CLIPS_AHEAD))
        contents = chain.from_iterable(executor.map(self._read, block) for block in blocks)
        progress = show_progress(contents, len(clips), "packing")
        for clip, content in zip(clips, progress, strict=True):
            if is_failure(content):
                self.failures.append(content)
            else:
                yield clip, content

    def pack(self, clips: Iterator[Tuple[int, Any]], max_bytes: float) -> None:
        """Fill packs with clips, as long as there are any, and check each of them."""
        for first in clips:
            path = self._pack(len(self.packs))
            with replace_file(path) as file, closing(ZipPack(file)) as pack:
                for clip, content in chain([first], clips):
                    self._add(pack, clip, content)
                    if pack.num_bytes >= max_bytes:
                        break
                pack.finish()
            self._complete(path)

    def list_clips(self) -> List[Clip]:
        """The clips that are packed, by their addresses below the folder of the packs."""
        return [
            Clip(
                self._address_of[self._name(clip)],
                self._manifest.clip_samples(clip),
                labels=self._split.class_ids(clip),
            )
            for clip, path in enumerate(self._manifest.relative_paths())
            if self._path_of.get(self._name(clip)) == path
        ]

    def _add(self, pack: ZipPack, clip: int, content: Any) -> None:
        name = self._name(clip)
        if not self._check_name(name, clip) or name in self._path_of:
            return
        try:
            pack.add(name, content)
            self._path_of[name] = self._manifest.relative_path(clip)
        except ValueError as error:
            self.failures.append(
                Failure(self._manifest.relative_path(clip), Failure.of(name, error).reason)
            )

    def _check_name(self, name: str, clip: int) -> bool:
        """Whether no other clip has the name; else the clip is left out."""
        path = self._manifest.relative_path(clip)
        if self._path_of.get(name, path) == path:
            return True
        reason = f"another clip is called {name!r} too, as packs have it: rename it"
        self.failures.append(Failure(path, reason))
        return False

    def _read(self, clip: int) -> Any:
        """What a pack holds of a clip, or a Failure."""
        path = self._manifest.path(clip)
        try:
            return ZipPack.load(path)
        except (ValueError, OSError) as error:
            return Failure(self._manifest.relative_path(clip), Failure.of(path, error).reason)

    def _complete(self, pack: str) -> None:
        """Take note of the members of a complete pack."""
        self.packs.append(pack)
        for name, place in ZipPack.members(pack).items():
            self._address_of[name] = os.path.basename(pack) + place

    def _name(self, clip: int) -> str:
        """The name of a clip in its pack."""
        return member_name(self._manifest.relative_path(clip), self._manifest.root)

    def _pack(self, number: int) -> str:
        return f"{self._prefix}-{number:05}{ZipPack.ending}"

    def _existing(self) -> List[str]:
        """The packs that are there, without a gap."""
        return list(takewhile(os.path.exists, map(self._pack, count())))
