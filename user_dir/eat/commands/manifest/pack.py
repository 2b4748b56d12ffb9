"""`eat manifest pack`: put the clips of a manifest into few large files."""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, count
from typing import Any, Dict, Iterator, Tuple

import numpy as np

from eat.data.labels import DESCRIPTORS_FILE, read_descriptors, read_labels, write_labels
from eat.data.manifest import Manifest, write_manifest
from eat.files import find_unfinished, replace_file
from eat.work import Failure, show_progress

from ..arguments import add_hdf5_argument, number
from .output import (
    add_output_arguments,
    check_output,
    split_files,
    unreadable_file,
    write_classes,
    write_left_out,
)

HELP = "put the clips of a manifest into few large files"

DESCRIPTION = """\
Put the clips of a manifest into packs of a few gigabytes, which file systems serve much faster than
millions of small files, and write OUT/NAME.tsv that lists them there, with the labels if there are
any. Packs and manifest can be moved together. Every clip is read back from its pack and compared
before the pack counts. An interrupted run goes on after the last complete pack when it is started
again. Clips that cannot be read are left out and listed with the reason in OUT/NAME.unreadable.tsv;
the exit status is then 1.
"""

FORMATS = ("zip", "hdf5")  # spelled out, as importing them is slow; a test compares


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `eat manifest pack`."""
    parser.description = DESCRIPTION
    parser.add_argument("manifest", metavar="MANIFEST", help="e.g. manifests/mine/train.tsv")
    add_output_arguments(parser, "manifests/packed")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="zip",
        help="zip: the files as they are, uncompressed; hdf5: their samples, which needs more space"
        " unless they are wav, and no time to decode (default: %(default)s)",
    )
    parser.add_argument(
        "--pack-gb",
        type=number(0, float("inf")),
        default=2.0,
        metavar="GB",
        help="size at which a pack is full (default: %(default)s)",
    )
    add_hdf5_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Pack a manifest; 1 if clips had to be left out."""
    manifest = Manifest(args.manifest)
    packer = Packer(args, manifest)
    check_output(args.out, split_files([packer.split]), args.force)
    packer.clean_up()
    for _ in show_progress(packer.run(), len(manifest), "packing", failed=lambda ok: not ok):
        pass
    left_out = [Failure(manifest.relative_path(i), why) for i, why in packer.failures.items()]
    write_left_out(args.out, left_out, unreadable_file(packer.split))
    if packer.num_packs == 0:
        raise ValueError(f"{args.manifest}: found no clip that can be packed: {left_out[0].reason}")
    packer.write_lists()
    print(
        f"{os.path.join(args.out, packer.split)}.tsv: {len(manifest) - len(left_out)} clips in"
        f" {packer.num_packs} packs, {packer.num_bytes / 1e9:.2f} GB; {len(left_out)} left out"
    )
    return 1 if left_out else 0


class Packer:
    """Puts the clips of a manifest into one pack after the other.

    Attributes:
        split: the name of the manifest, with which the names of the packs begin.
        num_packs: how many are complete.
        failures: clips that cannot be packed, and why.

    Raises:
        ValueError: the packed manifest would replace the manifest.
    """

    def __init__(self, args: argparse.Namespace, manifest: Manifest) -> None:
        from eat.audio.packing import PACKS, member_name

        self._args = args
        self._manifest = manifest
        self._format = PACKS[args.format]
        self._member_name = member_name
        self._pack_of = np.full(len(manifest), -1, dtype=np.int32)
        self.split = os.path.splitext(os.path.basename(args.manifest))[0]
        self.num_packs = 0
        self.failures: Dict[int, str] = {}
        if os.path.realpath(args.out) == os.path.realpath(os.path.dirname(manifest.file)):
            raise ValueError(f"--out: found the folder of {args.manifest}, expected another one")

    @property
    def num_bytes(self) -> int:
        """The size of all packs."""
        return sum(os.path.getsize(self._path(n)) for n in range(self.num_packs))

    def clean_up(self) -> None:
        """Remove what a killed run left behind; with `--force` also its packs."""
        os.makedirs(self._args.out, exist_ok=True)
        existing = self._existing()
        next_one = os.path.abspath(self._path(existing))
        for unfinished in find_unfinished(self._args.out):
            if unfinished.place == next_one:
                os.remove(unfinished.path)
        for pack in range(existing if self._args.force else 0):
            os.remove(self._path(pack))

    def run(self) -> Iterator[bool]:
        """Yield for each clip whether it is in a pack."""
        start = 0
        for _ in range(self._existing()):
            for is_packed in self._resume(start):
                yield is_packed
                start += 1
            self.num_packs += 1
        with ThreadPoolExecutor(self._args.workers) as executor:
            yield from self._write(self._load_ahead(start, executor))

    def write_lists(self) -> None:
        """Write the manifest of the packed clips, and their labels if the old one has any."""
        out, source = self._args.out, os.path.dirname(self._manifest.file)
        manifest_file, label_file = split_files([self.split])
        if os.path.exists(os.path.join(source, label_file)):
            descriptors_file = os.path.join(source, DESCRIPTORS_FILE)
            classes = read_descriptors(descriptors_file)
            labels = read_labels(
                os.path.join(source, label_file), self._manifest, classes, descriptors_file
            )
            write_classes(os.path.join(out, DESCRIPTORS_FILE), classes, self._args.force)
            ids = ((a, [classes[c].id for c in labels.classes(i)]) for i, a in self._addresses())
            write_labels(os.path.join(out, label_file), ids)
        clips = ((a, self._manifest.clip_samples(i)) for i, a in self._addresses())
        write_manifest(os.path.join(out, manifest_file), ".", clips)

    def _resume(self, start: int) -> Iterator[bool]:
        """Find out which clips, from `start` on, are in the pack that comes next."""
        path = self._path(self.num_packs)
        members = set(self._format.members(path))
        missing = set(members)
        for index in range(start, len(self._manifest)):
            name = self._name(index)
            if not missing:
                return
            if name in members:
                missing.discard(name)
                self._pack_of[index] = self.num_packs
            else:
                content = self._load(index)
                if not isinstance(content, Exception):
                    break  # it was readable, so that it would be in the pack
                self._fail(index, content)
            yield name in members
        if missing:
            raise ValueError(
                f"{path}: found {sorted(missing)[0]!r} where {self._manifest.file} has other clips,"
                " expected packs of the same manifest (--force starts anew)"
            )

    def _write(self, clips: Iterator[Tuple[int, Any]]) -> Iterator[bool]:
        """Fill packs with clips, as long as there are any."""
        for first in clips:
            if isinstance(first[1], Exception):
                self._fail(*first)
                yield False
                continue
            path = self._path(self.num_packs)
            with replace_file(path) as file, closing(self._format(file)) as pack:
                yield from self._fill(pack, chain([first], clips))
            self.num_packs += 1

    def _fill(self, pack: Any, clips: Iterator[Tuple[int, Any]]) -> Iterator[bool]:
        """Put clips into a pack until it is full, then check it."""
        paths: Dict[str, str] = {}  # of its members
        for index, content in clips:
            try:
                if isinstance(content, Exception):
                    raise content
                self._add(pack, paths, index, content)
                self._pack_of[index] = self.num_packs
            except (ValueError, OSError) as error:
                self._fail(index, error)
            yield self._pack_of[index] >= 0
            if pack.num_bytes >= self._args.pack_gb * 1e9:
                break
        pack.finish()

    def _add(self, pack: Any, paths: Dict[str, str], index: int, content: Any) -> None:
        name, path = self._name(index), self._manifest.relative_path(index)
        if name not in paths:
            pack.add(name, content)
        elif paths[name] != path:
            raise ValueError(f"another clip is called {name!r} too, as packs have it: rename it")
        paths[name] = path

    def _load(self, index: int) -> Any:
        """What is to be packed of a clip, or why it cannot be."""
        try:
            return self._format.load(self._manifest.path(index), self._args.hdf5_rate_hz)
        except (ValueError, OSError) as error:
            return error

    def _load_ahead(self, start: int, executor: ThreadPoolExecutor) -> Iterator[Tuple[int, Any]]:
        from eat.work import map_ahead

        clips = range(start, len(self._manifest))
        return map_ahead(clips, self._load, executor, self._args.workers)

    def _fail(self, index: int, error: Exception) -> None:
        self.failures[index] = str(error).removeprefix(f"{self._manifest.path(index)}: ")

    def _addresses(self) -> Iterator[Tuple[int, str]]:
        """The clips that are packed, and where, below the folder of the packs."""
        for pack in range(self.num_packs):
            members = self._format.members(self._path(pack))
            for index in np.flatnonzero(self._pack_of == pack).tolist():
                name = self._name(index)
                yield index, os.path.basename(self._path(pack)) + members[name]

    def _name(self, index: int) -> str:
        """What a clip is called in its pack."""
        return self._member_name(self._manifest.relative_path(index), self._manifest.root)

    def _path(self, pack: int) -> str:
        return os.path.join(self._args.out, f"{self.split}-{pack:05}{self._format.ending}")

    def _existing(self) -> int:
        """How many packs of this name are there, one after the other."""
        return next(pack for pack in count() if not os.path.exists(self._path(pack)))
