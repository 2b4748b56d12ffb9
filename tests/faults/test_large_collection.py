"""10,000 clips, 3 % of them damaged in twelve ways, through all that reads clips."""

import re

import numpy as np
import pytest
from faults import training
from faults.damage import NAMED, WAYS, write_collection
from helpers import MINIATURE, MINIATURE_CLASSIFIER, logged, write_tsv

from eat.commands.main import main
from eat.data.labels import Label, read_descriptors, read_labels, write_descriptors, write_labels
from eat.data.manifest import Manifest

pytestmark = pytest.mark.slow

NUM_CLIPS = 10_000
NUM_VALID = 40
CLASSES = [Label(0, "/m/even", "even"), Label(1, "/m/odd", "odd")]
# One epoch, of which the last batch may be smaller.
TRAINING = [
    *("task.bad_audio=skip", "task.min_samples=0", "dataset.batch_size=50"),
    *("optimization.max_epoch=1", "optimization.max_update=1000", "dataset.num_workers=2"),
    *("checkpoint.save_dir=checkpoints", "common.log_interval=1"),
]


class Folder:
    """The collection, its manifest and labels, and what must be named."""

    def __init__(self, path) -> None:
        self.path = path
        self.audio = path / "audio"
        self.entries, self.damaged = write_collection(self.audio, NUM_CLIPS, seconds=0.2)
        write_tsv(path / "train.tsv", self.audio, self.entries)
        self.sound = [entry for entry in self.entries if entry[0] not in self.damaged]
        write_tsv(path / "valid.tsv", self.audio, self.sound[:NUM_VALID])
        write_descriptors(path / "label_descriptors.csv", CLASSES)
        self.labels = {name: CLASSES[n % 2].id for n, (name, _) in enumerate(self.entries)}
        for split, listed in (("train", self.entries), ("valid", self.sound[:NUM_VALID])):
            write_labels(path / f"{split}.lbl", [(name, [self.labels[name]]) for name, _ in listed])

    def names(self, paths):
        """Names of clips out of their paths."""
        return sorted(path.removeprefix(f"{self.audio}/") for path in paths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("collection"))
    ways = list(folder.damaged.values())
    assert len(ways) == 300 and {ways.count(way) for way in WAYS} == {25}
    return folder


@pytest.fixture(scope="module")
def pretrained(folder, tmp_path_factory):
    """The folder of a pre-training on all clips, and its log."""
    out = tmp_path_factory.mktemp("pretraining")
    overrides = [f"task.data={folder.path}", *MINIATURE, *TRAINING]
    return out, training.run(overrides, out).check().log


def assert_each_is_named_once(log, folder):
    assert folder.names(NAMED.findall(log)) == sorted(folder.damaged)
    records = logged(log)
    assert len(records) == NUM_CLIPS / 50
    assert records[-1]["bad_clips"] == len(folder.damaged)


def test_pretraining(pretrained, folder):
    out, log = pretrained
    assert_each_is_named_once(log, folder)
    listed = (out / "checkpoints" / "bad_audio.tsv").read_text().splitlines()
    assert folder.names(line.split("\t")[0] for line in listed) == sorted(folder.damaged)


def test_finetuning(folder, tmp_path):
    overrides = [f"task.data={folder.path}", *MINIATURE_CLASSIFIER, *TRAINING]
    log = training.run(overrides, tmp_path, config="finetune_tiny").check().log
    assert_each_is_named_once(log, folder)


def test_extraction(pretrained, folder, tmp_path, capsys):
    checkpoint = pretrained[0] / "checkpoints" / "checkpoint_last.pt"
    arguments = ["--checkpoint", str(checkpoint), "--granularity", "utterance", "--format", "npz"]
    assert (
        main(["extract", str(folder.path / "train.tsv"), *arguments, "--out", str(tmp_path)]) == 1
    )
    printed = capsys.readouterr()
    failed = re.findall(r"^failed (.+?\.wav): ", printed.err, re.MULTILINE)
    assert folder.names(failed) == sorted(folder.damaged)
    assert printed.out.endswith(", 300 failed\n")
    with np.load(tmp_path / "features.npz") as features:
        assert sorted(features) == sorted(name.removesuffix(".wav") for name, _ in folder.sound)
        assert all(np.isfinite(features[name]).all() for name in list(features)[::97])


def test_manifest_check(folder, tmp_path):
    assert main(["manifest", "check", str(folder.path / "train.tsv"), "--out", str(tmp_path)]) == 1
    report = [line.split("\t") for line in (tmp_path / "train.check.tsv").read_text().splitlines()]
    assert [path for _, _, path, _ in report] == [
        name for name, _ in folder.entries if name in folder.damaged
    ]
    clean = Manifest(tmp_path / "train.tsv")
    assert list(clean.relative_paths()) == [name for name, _ in folder.sound]
    descriptors = read_descriptors(tmp_path / "label_descriptors.csv")
    labels = read_labels(tmp_path / "train.lbl", clean, descriptors)
    for clip, (name, _) in enumerate(folder.sound):
        assert [CLASSES[i].id for i in labels.classes(clip)] == [folder.labels[name]]
