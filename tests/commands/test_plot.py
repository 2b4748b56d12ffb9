"""`eat plot`: the figures hold what was asked for, of the right clips and runs."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from helpers import GOLDEN, write_clips, write_tsv

import eat
from eat.audio.log_mel import num_samples_for
from eat.commands.main import main
from eat.data.labels import Label, write_descriptors, write_labels
from eat.figures import cls_attention, examine_masks, map_embeddings, style
from eat.nn.masking import MaskingConfig, inverse_block_masks


@pytest.fixture
def plot(monkeypatch, tmp_path):
    """`plot(*arguments)` runs `eat plot` and returns the exit status and the figures it drew.

    Only the PNG is drawn: it takes time, and tests/figures draw both.
    """
    monkeypatch.chdir(tmp_path)
    render_figure = style.render_figure
    drawn = []

    def render_and_keep(figure, kind):
        if kind == "svg":
            return b"<svg/>"
        drawn.append(figure)
        return render_figure(figure, kind)

    monkeypatch.setattr(style, "render_figure", render_and_keep)

    def run(*arguments):
        drawn.clear()
        return main(["plot", *map(str, arguments)]), list(drawn)

    return run


@pytest.fixture
def recording(tmp_path):
    """A file of 1.5 s at 8 kHz: 148 frames, 160 in whole patches."""
    path = tmp_path / "dog $1.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(12_000)
    soundfile.write(path, noise, 8000)
    return path


def log_mel_of(samples, target_length=None):
    """The spectrogram that is drawn, (frames, bins)."""
    log_mel = eat.LogMel(mean=0.0, std=0.5, target_length=target_length)
    return log_mel(torch.from_numpy(samples))[0, 0]


def test_heads_of_the_chosen_block(plot, recording, official_pretrain, capsys):
    arguments = ("attention", recording, "--checkpoint", official_pretrain)
    status, (figure,) = plot(*arguments, "--layer", 2)
    assert status == 0
    encoder, samples = eat.load_encoder(official_pretrain), eat.read_audio(recording)
    source = encoder.log_mel(torch.from_numpy(samples))
    expected = cls_attention(encoder, source, 2)[0, :, 1:].unflatten(1, (-1, 8))
    clip = figure.subfigs[0].axes[0]
    assert clip.get_title(loc="left") == f"{recording}, block 2 of 3"
    np.testing.assert_allclose(clip.images[0].get_array().T, log_mel_of(samples), atol=1e-4)
    heads = [axes for axes in figure.subfigs[1].axes if axes.images]
    assert len(heads) == 4
    for axes, weights in zip(heads, expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array().T, 100 * weights, atol=1e-4)
    _, (figure,) = plot(*arguments)
    assert figure.subfigs[0].axes[0].get_title(loc="left").endswith("block 3 of 3")
    assert plot(*arguments, "--layer", 9)[0] == 1
    assert "layer: found 9, expected 1 to 3" in capsys.readouterr().err


def test_the_classes_of_a_table(plot, tmp_path, capsys):
    rows = ["label,average_precision,num_positives", "Rain,0.25,3", "Wind,0.75,9"]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    status, (figure,) = plot("classes", "mine.csv")
    assert status == 0
    assert figure.get_suptitle() == "mine.csv: mean average precision 0.500 over 2 classes"
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.75, 0.25]
    assert capsys.readouterr().out.split() == ["classes.png", "classes.svg"]
    assert plot("classes", "none.csv") == (1, [])


def shown(figure):
    """(the title, the spectrogram, the masks) of a figure of a clip."""
    axes = figure.subfigs[0].axes[0]
    clones = [axes for axes in figure.subfigs[1].axes if axes.images]
    masks = [~np.ma.getmaskarray(axes.images[1].get_array()).T for axes in clones]
    return axes.get_title(loc="left"), axes.images[0].get_array().T, np.array(masks)


@pytest.mark.parametrize(
    "start, target_length, size, grid, title",
    [(0, None, 3, (10, 8), ""), (0.5, 32, 2, (2, 8), " from 0.5 s")],
    ids=["a short file", "a part from the middle"],
)
def test_a_clip_with_its_masks(plot, recording, start, target_length, size, grid, title):
    options = ["--mask-block-size", size, "--num-clones", 3]
    options += ["--start-seconds", start, "--target-length", target_length] if start else []
    status, (figure,) = plot("clip", recording, *options)
    assert status == 0
    found, spectrogram, hidden = shown(figure)
    part = num_samples_for(target_length) if target_length else None
    samples = eat.read_audio(recording, offset_samples=int(16_000 * start), num_samples=part)
    np.testing.assert_allclose(spectrogram, log_mel_of(samples, target_length), atol=1e-5)
    config = MaskingConfig(num_clones=3, mask_block_size=size)
    masks = inverse_block_masks(config, grid, np.random.default_rng(1))
    np.testing.assert_array_equal(hidden, masks.reshape(3, *grid))
    assert found == f"{recording}{title}"


def test_the_settings_of_a_checkpoint_and_what_overrides_them(plot, recording, official_pretrain):
    arguments = ("clip", recording, "--checkpoint", official_pretrain)
    _, spectrogram, hidden = shown(plot(*arguments)[1][0])
    assert spectrogram.shape == (128, 128)  # its target_length
    assert hidden.shape == (4, 8, 8) and hidden.sum() == 4 * 52
    _, _, hidden = shown(plot(*arguments, "--mask-ratio", 0.5, "--target-length", 64)[1][0])
    assert hidden.shape == (4, 4, 8) and hidden.sum() == 4 * 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start-seconds", "1.49"], "start_seconds: found 1.49 in a file of 1.50 s"),
        (["--target-length", "100"], "target_length: found 100, expected a positive multiple"),
        (["--mask-block-size", "9"], "mask_block_size: found 9, expected 1 to 8"),
        (
            ["--checkpoint", str(GOLDEN / "official_finetune.pt")],
            "a fine-tuned checkpoint without settings of masks",
        ),
    ],
)
def test_impossible_wishes_are_named(plot, recording, capsys, arguments, message):
    assert plot("clip", recording, *arguments) == (1, [])
    assert message in capsys.readouterr().err


LINE = '{{"loss": "{loss}", "frame_loss": "1", "num_updates": "{update}"}}\n'


def write_run(folder, losses, name="train.log"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [LINE.format(loss=loss, update=update) for update, loss in enumerate(losses, 1)]
    (folder / name).write_text("".join(lines))
    return folder


def test_a_folder_and_a_file_are_drawn_over_each_other(plot, tmp_path, capsys):
    write_run(tmp_path / "a" / "checkpoints", [3, 2, 1])
    write_run(tmp_path / "b", [9, 8], name="out.txt")
    status, (figure,) = plot("curves", "a/checkpoints", "b/out.txt", "--out", "figures/both")
    assert status == 0
    assert capsys.readouterr().out.split() == ["figures/both.png", "figures/both.svg"]
    assert (tmp_path / "figures" / "both.svg").exists()
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].get_lines()}
    assert lines == {"checkpoints, training": [3, 2, 1], "out.txt, training": [9, 8]}
    write_run(tmp_path / "b" / "checkpoints", [4])
    _, (figure,) = plot("curves", "a/checkpoints", "b/checkpoints")  # the shortest that differ
    labels = [line.get_label() for line in figure.axes[0].get_lines()]
    assert labels == ["a/checkpoints, training", "b/checkpoints, training"]
    assert plot("curves", "b/checkpoints", "./b/checkpoints")[0] == 1
    assert "found a run twice among b/checkpoints, ./b/ch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("none", "no such run: none, expected a folder or a log file"),
        (".", ".: found no train.log, expected the checkpoint.save_dir of a training run"),
        ("empty.log", "empty.log: found no line of training statistics"),
    ],
)
def test_what_is_no_run_is_named(plot, tmp_path, capsys, run, message):
    (tmp_path / "empty.log").write_text("epoch 1\n")
    assert plot("curves", run) == (1, [])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("curves*"))


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


def groups(figure):
    return {g.get_label(): np.asarray(g.get_offsets()) for g in figure.axes[0].collections}


def points(manifest, checkpoint, granularity="utterance"):
    """Where the clips of the manifest belong, (6, 2)."""
    root, encoder = manifest.parent / "audio", eat.load_encoder(checkpoint)
    paths = [str(root / folder / f"clip {n}.wav") for folder in "ab" for n in range(3)]
    found = eat.extract_features(paths, encoder, granularity=granularity)
    return map_embeddings(np.array([x.reshape(-1, x.shape[-1]).mean(dim=0) for x in found]))[0]


def test_by_the_first_label_with_a_checkpoint(plot, manifest, official_pretrain, capsys):
    arguments = ("embeddings", manifest, "--checkpoint", official_pretrain)
    status, (figure,) = plot(*arguments)
    assert status == 0
    expected, shown = points(manifest, official_pretrain), groups(figure)
    assert list(shown) == ["Rain", "Wind"]
    np.testing.assert_allclose(shown["Rain"], expected[[0, 2, 4, 5]], atol=1e-4)
    np.testing.assert_allclose(shown["Wind"], expected[[1, 3]], atol=1e-4)
    assert figure.axes[0].get_title(loc="left") == f"6 clips of {manifest}"
    broken = manifest.parent / "audio" / "a" / "clip 1.wav"
    broken.write_bytes(b"RIFF")
    status, (figure,) = plot(*arguments)
    assert status == 1
    assert f"failed {broken}: " in capsys.readouterr().err
    assert sum(map(len, groups(figure).values())) == 5


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_by_folder_from_extracted_features(plot, manifest, official_pretrain, kind):
    options = ["--checkpoint", official_pretrain, "--out", "features", "--format", kind]
    assert main(["extract", str(manifest), *options, "--granularity", "utterance"]) == 0
    status, (figure,) = plot("embeddings", manifest, "--features", "features", "--by", "folder")
    assert status == 0
    expected, shown = points(manifest, official_pretrain), groups(figure)
    np.testing.assert_allclose(shown["a"], expected[:3], atol=1e-4)
    np.testing.assert_allclose(shown["b"], expected[3:], atol=1e-4)


def test_without_labels_folders_are_coloured_and_patches_can_be_averaged(
    plot, manifest, official_pretrain
):
    (manifest.parent / "valid.lbl").unlink()
    options = ("--checkpoint", official_pretrain, "--pooling", "mean")
    _, (figure,) = plot("embeddings", manifest, *options)
    expected = points(manifest, official_pretrain, "frame")
    np.testing.assert_allclose(groups(figure)["b"], expected[3:], atol=1e-4)


def test_features_of_others_and_of_several_layers_are_refused(
    plot, manifest, official_pretrain, capsys
):
    (manifest.parent / "empty").mkdir()
    options = ["--checkpoint", official_pretrain, "--out", "features", "--layers", "all"]
    assert main(["extract", str(manifest), *options]) == 0
    capsys.readouterr()
    for features, message in (
        ("empty", "found no features of the clips of"),
        ("none", "no such features: none"),
        ("features", "of several layers, expected those of one"),
    ):
        assert plot("embeddings", manifest, "--features", features)[0] == 1
        assert message in capsys.readouterr().err


def test_numbers_of_several_sizes(plot, capsys, official_pretrain):
    status, (figure,) = plot("masks", "--mask-block-size", 5, 7, "--num-draws", 500)
    assert status == 0
    lines = capsys.readouterr().out.splitlines()
    for first, row, size in ((0, figure.subfigs[0], 5), (3, figure.subfigs[1], 7)):
        config = replace(MaskingConfig(), mask_block_size=size)
        statistics = examine_masks(config, (64, 8), 500)
        counts = statistics.counts
        name = f"Blocks of {size} x {size}, 80 % hidden"
        assert lines[first] == f"{name}: 102 of 512 patches visible"
        assert lines[first + 1] == (
            f"  patches in blocks ({statistics.num_blocks} drawn): {counts.mean():.1f} +-"
            f" {counts.std():.1f}, from {counts.min()} to {counts.max()}"
        )
        assert f"{100 * statistics.share_below:.1f} % of the clones" in lines[first + 2]
        assert row.get_suptitle() == name
    for options, expected in (
        (("--checkpoint", official_pretrain), "Blocks of 3 x 3, 80 % hidden: 12 of 64 patches"),
        (("--target-length", 512), "51 of 256 patches visible"),
    ):
        plot("masks", *options, "--num-draws", 50)
        assert expected in capsys.readouterr().out
