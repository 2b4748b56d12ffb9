"""`eat plot embeddings`: every clip where its vector puts it, in the colour of what it is."""

import numpy as np
import pytest
from helpers import write_clips, write_tsv

import eat
from eat.commands.main import main
from eat.commands.plot.embeddings import METHODS, name_folders
from eat.data.labels import Label, write_descriptors, write_labels
from eat.figures.embeddings import METHODS as DRAWN_METHODS
from eat.figures.embeddings import map_embeddings


@pytest.fixture
def manifest(tmp_path):
    """Six clips in the folders a and b, with labels that cut across the folders."""
    entries = []
    for folder in ("a", "b"):
        clips = write_clips(tmp_path / "audio" / folder, 3, seed=ord(folder))
        entries += [(f"{folder}/{name}", num_samples) for name, num_samples in clips]
    write_tsv(tmp_path / "valid.tsv", tmp_path / "audio", entries)
    labels = [Label(0, "r", "Rain"), Label(1, "w", "Wind")]
    write_descriptors(tmp_path / "label_descriptors.csv", labels)
    names = [name for name, _ in entries]
    write_labels(tmp_path / "valid.lbl", zip(names, ["r", "w", "rw", "w", "r", "r"], strict=True))
    return tmp_path / "valid.tsv"


@pytest.fixture
def paths(manifest):
    root = manifest.parent / "audio"
    return [root / folder / f"clip {n}.wav" for folder in "ab" for n in range(3)]


def groups(figure):
    return {g.get_label(): np.asarray(g.get_offsets()) for g in figure.axes[0].collections}


def cls_map(paths, checkpoint):
    encoder = eat.load_encoder(checkpoint)
    vectors = eat.extract_features(list(map(str, paths)), encoder, granularity="utterance")
    return map_embeddings(np.array(vectors)).points


def test_by_the_first_label_with_a_checkpoint(plot, manifest, paths, official_pretrain):
    status, (figure,) = plot("embeddings", manifest, "--checkpoint", official_pretrain)
    assert status == 0
    expected, shown = cls_map(paths, official_pretrain), groups(figure)
    assert list(shown) == ["Rain", "Wind"]
    np.testing.assert_allclose(shown["Rain"], expected[[0, 2, 4, 5]], atol=1e-4)
    np.testing.assert_allclose(shown["Wind"], expected[[1, 3]], atol=1e-4)
    assert figure.axes[0].get_title(loc="left") == f"6 clips of {manifest}"


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_by_folder_from_extracted_features(plot, manifest, paths, official_pretrain, kind):
    options = ["--checkpoint", official_pretrain, "--out", "features", "--format", kind]
    assert main(["extract", str(manifest), *options, "--granularity", "utterance"]) == 0
    status, (figure,) = plot("embeddings", manifest, "--features", "features", "--by", "folder")
    assert status == 0
    expected, shown = cls_map(paths, official_pretrain), groups(figure)
    np.testing.assert_allclose(shown["a"], expected[:3], atol=1e-4)
    np.testing.assert_allclose(shown["b"], expected[3:], atol=1e-4)


def test_without_labels_folders_are_coloured_and_patches_can_be_averaged(
    plot, manifest, paths, official_pretrain
):
    (manifest.parent / "valid.lbl").unlink()
    options = ("--checkpoint", official_pretrain, "--pooling", "mean")
    _, (figure,) = plot("embeddings", manifest, *options)
    encoder = eat.load_encoder(official_pretrain)
    patches = eat.extract_features(list(map(str, paths)), encoder)
    expected = map_embeddings(np.array([one.mean(dim=0).numpy() for one in patches])).points
    np.testing.assert_allclose(groups(figure)["b"], expected[3:], atol=1e-4)


def test_a_clip_that_cannot_be_read_is_named_and_left_out(
    plot, manifest, paths, official_pretrain, capsys
):
    paths[1].write_bytes(b"RIFF")
    status, (figure,) = plot("embeddings", manifest, "--checkpoint", official_pretrain)
    assert status == 1
    assert f"left out {manifest}:3: {paths[1]}" in capsys.readouterr().err
    assert sum(map(len, groups(figure).values())) == 5


def test_features_of_others_and_of_several_layers_are_refused(
    plot, manifest, official_pretrain, capsys
):
    (manifest.parent / "empty").mkdir()
    assert plot("embeddings", manifest, "--features", "empty")[0] == 1
    assert "found no features of the clips of" in capsys.readouterr().err
    assert plot("embeddings", manifest, "--features", "none")[0] == 1
    assert "no such features: none" in capsys.readouterr().err
    options = ["--checkpoint", official_pretrain, "--out", "features", "--layers", "all"]
    assert main(["extract", str(manifest), *options]) == 0
    capsys.readouterr()
    assert plot("embeddings", manifest, "--features", "features")[0] == 1
    assert "of several layers, expected those of one" in capsys.readouterr().err


def test_the_methods_are_those_that_can_be_drawn():
    assert METHODS == DRAWN_METHODS


@pytest.mark.parametrize(
    "paths, expected",
    [
        (["a.wav", "b.wav"], [".", "."]),
        (["birds/wren/1.wav", "birds/wren/2.wav"], ["birds/wren", "birds/wren"]),
        (["x/birds/wren/1.wav", "x/birds/owl/2.wav"], ["wren", "owl"]),
        (["x/birds/1.wav", "x/birds/owl/2.wav"], [".", "owl"]),
        (["1.wav", "birds/owl/2.wav"], [".", "birds/owl"]),
    ],
)
def test_folders_are_named_without_what_all_have_in_common(paths, expected):
    assert name_folders(paths) == expected
