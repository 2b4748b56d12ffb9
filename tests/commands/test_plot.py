"""`eat plot`: the figures hold what was asked for, of the right clips and runs."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from helpers import write_clips, write_tsv

import eat
import eat.figures
from eat.commands.main import main
from eat.data.labels import Label, write_descriptors, write_labels
from eat.figures.attention import cls_attention
from eat.figures.embeddings import map_embeddings
from eat.figures.masks import examine_masks
from eat.nn.masking import MaskingConfig, inverse_block_masks


@pytest.fixture
def plot(monkeypatch, tmp_path):
    """`plot(*arguments)` runs `eat plot` and returns the figure, None after an error.

    Another exit status than that of success or of an error is given as `status`.
    """
    monkeypatch.chdir(tmp_path)
    save_figure = eat.figures.save_figure
    drawn = []

    def save_and_keep(figure, path):
        drawn.append(figure)
        return save_figure(figure, path)

    monkeypatch.setattr(eat.figures, "save_figure", save_and_keep)

    def run(*arguments, status=0):
        drawn.clear()
        assert main(["plot", *map(str, arguments)]) == status
        return drawn[0] if drawn else None

    return run


@pytest.fixture
def refused(plot, capsys):
    """`refused(*arguments)` runs `eat plot`, which must draw nothing, and returns its error."""

    def run(*arguments):
        assert plot(*arguments, status=1) is None
        return capsys.readouterr().err

    return run


@pytest.fixture
def recording(tmp_path):
    """A file of 1.5 s at 8 kHz: 148 frames, 160 in whole patches."""
    path = tmp_path / "dog $1.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(12_000)
    soundfile.write(path, noise, 8000)
    return path


def log_mel_of(recording, target_length=None, **part):
    """(T, F) log-mel values of a recording."""
    log_mel = eat.LogMel(mean=0.0, std=0.5, target_length=target_length)
    return log_mel(torch.from_numpy(eat.read_audio(recording, **part)))[0, 0]


def spectrogram(figure):
    return figure.subfigs[0].axes[0].images[0].get_array().T


def title(figure):
    return (figure.subfigs[0] if figure.subfigs else figure).axes[0].get_title(loc="left")


def hidden(figure):
    clones = [axes for axes in figure.subfigs[1].axes if axes.images]
    return np.array([~np.ma.getmaskarray(axes.images[1].get_array()).T for axes in clones])


def test_heads_of_the_chosen_block(plot, recording, official_pretrain):
    figure = plot("attention", recording, "--checkpoint", official_pretrain, "--layer", 2)
    encoder = eat.load_encoder(official_pretrain)
    source = encoder.log_mel(torch.from_numpy(eat.read_audio(recording)))
    expected = cls_attention(encoder, source, 2)[0, :, 1:].unflatten(1, (-1, 8))
    assert title(figure) == f"{recording}, block 2 of 3"
    np.testing.assert_allclose(spectrogram(figure), log_mel_of(recording), atol=1e-4)
    heads = [axes for axes in figure.subfigs[1].axes if axes.images]
    assert len(heads) == 4
    for axes, weights in zip(heads, expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array().T, 100 * weights, atol=1e-4)


def test_the_last_block_unless_told_otherwise(plot, refused, recording, official_pretrain):
    arguments = ("attention", recording, "--checkpoint", official_pretrain)
    assert title(plot(*arguments)).endswith("block 3 of 3")
    assert "layer: found 9, expected 1 to 3" in refused(*arguments, "--layer", 9)


def test_the_classes_of_a_table(plot, refused, tmp_path, capsys):
    (tmp_path / "mine.csv").write_text(
        "label,average_precision,num_positives\nRain,0.25,3\nWind,0.75,9\n"
    )
    figure = plot("classes", "mine.csv")
    assert figure.get_suptitle() == "mine.csv: mean average precision 0.500 over 2 classes"
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.75, 0.25]
    assert capsys.readouterr().out.split() == ["classes.png", "classes.svg"]
    assert "none.csv" in refused("classes", "none.csv")


def test_a_short_file_at_its_own_length_with_its_masks(plot, recording):
    figure = plot("clip", recording, "--mask-block-size", 3, "--num-clones", 3)
    np.testing.assert_allclose(spectrogram(figure), log_mel_of(recording), atol=1e-5)
    config = MaskingConfig(num_clones=3, mask_block_size=3)
    masks = inverse_block_masks(config, (10, 8), np.random.default_rng(1))
    np.testing.assert_array_equal(hidden(figure), masks.reshape(3, 10, 8))
    assert title(figure) == str(recording)


def test_the_settings_of_a_checkpoint_and_what_overrides_them(plot, recording, official_pretrain):
    arguments = ("clip", recording, "--checkpoint", official_pretrain)
    figure = plot(*arguments)
    assert spectrogram(figure).shape == (128, 128)  # its target_length
    assert hidden(figure).shape == (4, 8, 8) and hidden(figure).sum() == 4 * 52
    figure = plot(*arguments, "--mask-ratio", 0.5, "--target-length", 64)
    assert hidden(figure).shape == (4, 4, 8) and hidden(figure).sum() == 4 * 16


def test_a_part_from_the_middle(plot, recording):
    arguments = ("--start-seconds", 0.5, "--target-length", 32, "--mask-block-size", 2)
    figure = plot("clip", recording, *arguments)
    part = {"offset_samples": 8000, "num_samples": eat.LogMel().num_samples_for(32)}
    np.testing.assert_allclose(spectrogram(figure), log_mel_of(recording, 32, **part), atol=1e-5)
    assert title(figure) == f"{recording} from 0.5 s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start-seconds", "1.49"], "start_seconds: found 1.49 in a file of 1.50 s"),
        (["--target-length", "100"], "target_length: found 100, expected a positive multiple"),
        (["--mask-block-size", "9"], "mask_block_size: found 9, expected 1 to 8"),
        (["--checkpoint", "none.pt"], "no such checkpoint: none.pt"),
    ],
)
def test_impossible_wishes_are_named(refused, recording, arguments, message):
    assert message in refused("clip", recording, *arguments)


def test_a_checkpoint_without_masks_is_refused(refused, recording, official_finetune):
    error = refused("clip", recording, "--checkpoint", official_finetune)
    assert "a fine-tuned checkpoint without settings of masks" in error


def write_run(path, losses):
    path.parent.mkdir(parents=True, exist_ok=True)
    line = '{"loss": "%s", "frame_loss": "1", "num_updates": "%d"}\n'
    path.write_text("".join(line % (loss, update) for update, loss in enumerate(losses, 1)))


def test_a_folder_and_a_file_are_drawn_over_each_other(plot, tmp_path, capsys):
    write_run(tmp_path / "a" / "checkpoints" / "train.log", [3, 2, 1])
    write_run(tmp_path / "b" / "out.txt", [9, 8])
    figure = plot("curves", "a/checkpoints", "b/out.txt", "--out", "figures/both")
    assert capsys.readouterr().out.split() == ["figures/both.png", "figures/both.svg"]
    assert (tmp_path / "figures" / "both.svg").exists()
    lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].get_lines()}
    assert lines == {"a/checkpoints, training": [3, 2, 1], "out.txt, training": [9, 8]}


def test_names_are_the_shortest_ends_that_differ(plot, tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / f"seed{seed}" / "checkpoints" / "train.log", [seed])
    figure = plot("curves", "seed1/checkpoints", "seed2/checkpoints")
    labels = [line.get_label() for line in figure.axes[0].get_lines()]
    assert labels == ["seed1/checkpoints, training", "seed2/checkpoints, training"]


def test_a_run_is_named_by_its_folder_not_by_the_files_in_it(plot, tmp_path):
    for name in ("mine/train.log", "first/checkpoints/train.log"):
        write_run(tmp_path / name, [1])
    figure = plot("curves", "mine/train.log", "first/checkpoints")
    labels = [line.get_label() for line in figure.axes[0].get_lines()]
    assert labels == ["mine, training", "first/checkpoints, training"]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["none"], "no such run: none, expected a folder or a log file"),
        (["."], ".: found no train.log, expected the checkpoint.save_dir of a training run"),
        (["empty.log"], "empty.log: found no line of training statistics"),
        (["empty.log", "./empty.log"], "found a run twice among empty.log, ./empty.log"),
    ],
)
def test_what_is_no_run_is_named(refused, tmp_path, runs, message):
    (tmp_path / "empty.log").write_text("epoch 1\n")
    assert message in refused("curves", *runs)
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


@pytest.fixture
def paths(manifest):
    root = manifest.parent / "audio"
    return [str(root / folder / f"clip {n}.wav") for folder in "ab" for n in range(3)]


def groups(figure):
    return {g.get_label(): np.asarray(g.get_offsets()) for g in figure.axes[0].collections}


def cls_map(paths, checkpoint):
    vectors = eat.extract_features(paths, eat.load_encoder(checkpoint), granularity="utterance")
    return map_embeddings(np.array(vectors))[0]


def test_by_the_first_label_with_a_checkpoint(plot, manifest, paths, official_pretrain):
    figure = plot("embeddings", manifest, "--checkpoint", official_pretrain)
    expected, shown = cls_map(paths, official_pretrain), groups(figure)
    assert list(shown) == ["Rain", "Wind"]
    np.testing.assert_allclose(shown["Rain"], expected[[0, 2, 4, 5]], atol=1e-4)
    np.testing.assert_allclose(shown["Wind"], expected[[1, 3]], atol=1e-4)
    assert title(figure) == f"6 clips of {manifest}"


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_by_folder_from_extracted_features(plot, manifest, paths, official_pretrain, kind):
    options = ["--checkpoint", official_pretrain, "--out", "features", "--format", kind]
    assert main(["extract", str(manifest), *options, "--granularity", "utterance"]) == 0
    shown = groups(plot("embeddings", manifest, "--features", "features", "--by", "folder"))
    expected = cls_map(paths, official_pretrain)
    np.testing.assert_allclose(shown["a"], expected[:3], atol=1e-4)
    np.testing.assert_allclose(shown["b"], expected[3:], atol=1e-4)


def test_without_labels_folders_are_coloured_and_patches_can_be_averaged(
    plot, manifest, paths, official_pretrain
):
    (manifest.parent / "valid.lbl").unlink()
    options = ("--checkpoint", official_pretrain, "--pooling", "mean")
    shown = groups(plot("embeddings", manifest, *options))
    patches = eat.extract_features(paths, eat.load_encoder(official_pretrain))
    expected = map_embeddings(np.array([one.mean(dim=0).numpy() for one in patches]))[0]
    np.testing.assert_allclose(shown["b"], expected[3:], atol=1e-4)


def test_a_clip_that_cannot_be_read_is_named_and_left_out(
    plot, manifest, paths, official_pretrain, capsys
):
    with open(paths[1], "wb") as file:
        file.write(b"RIFF")
    figure = plot("embeddings", manifest, "--checkpoint", official_pretrain, status=1)
    assert f"failed {paths[1]}: " in capsys.readouterr().err
    assert sum(map(len, groups(figure).values())) == 5


def test_features_of_others_and_of_several_layers_are_refused(refused, manifest, official_pretrain):
    (manifest.parent / "empty").mkdir()
    arguments = ("embeddings", manifest, "--features")
    assert "found no features of the clips of" in refused(*arguments, "empty")
    assert "no such features: none" in refused(*arguments, "none")
    options = ["--checkpoint", official_pretrain, "--out", "features", "--layers", "all"]
    assert main(["extract", str(manifest), *options]) == 0
    assert "of several layers, expected those of one" in refused(*arguments, "features")


def test_numbers_of_several_sizes(plot, capsys):
    figure = plot("masks", "--mask-block-size", 5, 7, "--num-draws", 500)
    lines = capsys.readouterr().out.splitlines()
    for row, size in zip(figure.subfigs, (5, 7), strict=True):
        config = replace(MaskingConfig(), mask_block_size=size)
        statistics = examine_masks(config, (64, 8), 500)
        counts, name = statistics.counts, f"Blocks of {size} x {size}, 80 % hidden"
        first, second, third, *lines = lines
        assert first == f"{name}: 102 of 512 patches visible"
        assert second == (
            f"  patches in blocks ({statistics.num_blocks} drawn): {counts.mean():.1f} +-"
            f" {counts.std():.1f}, from {counts.min()} to {counts.max()}"
        )
        assert f"{100 * statistics.share_below:.1f} % of the clones" in third
        assert row.get_suptitle() == name


def test_masks_of_a_checkpoint_and_of_another_length(plot, capsys, official_pretrain):
    plot("masks", "--checkpoint", official_pretrain, "--num-draws", 50)
    assert "Blocks of 3 x 3, 80 % hidden: 12 of 64 patches visible" in capsys.readouterr().out
    plot("masks", "--target-length", 512, "--num-draws", 50)
    assert "51 of 256 patches visible" in capsys.readouterr().out
