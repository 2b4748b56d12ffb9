"""`eat report`: what a run left behind is on the page, and nothing that it needs is elsewhere."""

import json
import shlex
import shutil
import subprocess
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch

import eat.figures.style
from eat.commands.main import main
from eat.figures.report import as_duration, measure_speed
from eat.training.record import read_starts
from eat.training.run import read_training_log

EVALUATION = {
    "checkpoint": "best.pt", "data": "manifests/mine", "split": "eval", "num_clips": 12,
    "failed": [], "metrics": {"accuracy": 0.75, "mAP": 0.8125, "d_prime": None},
    "classes": [
        {"label": "Rain <b>", "num_positives": 8, "average_precision": 0.9},
        {"label": "Wind", "num_positives": 4, "average_precision": None},
    ],
    "confusion_matrix": [[6, 2], [1, 3]],
}  # fmt: skip
SCORE = {"encoder": "last.pt", "layer": 12, "pooling": "cls", "method": "knn"}
WHERE = {"layers": {"12": 1.0}, "parts": {"cls": 0.5, "patches": 0.5}}
PROBE = {
    "checkpoint": "last.pt", "data": "manifests/mine", "num_clips": 40, "num_classes": 4,
    "num_folds": 5, "metric": "accuracy",
    "results": [{**SCORE, "mean": 0.5, "std": 0.0625, "where": WHERE}],
    "conclusions": ["gated: use CLS"],
}  # fmt: skip


class Page(HTMLParser):
    """A page as its text, its tables, its links and its pictures."""

    def __init__(self, source):
        super().__init__()
        self.words, self.rows, self.links, self.ids, self.pictures = [], [], [], [], {}
        self.source, self.tags, self._skips = source, set(), False
        self.feed(source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self._skips = tag == "style"
        self.links += [attrs[name] for name in ("href", "src", "action") if name in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "img":
            self.pictures[attrs["alt"]] = attrs["src"]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self._skips:
            return
        self.words.append(data)
        if self.rows and self.rows[-1] and self.lasttag in ("td", "th", "code"):
            self.rows[-1][-1] += data.strip()

    def row(self, name):
        """The cells after the one that says `name`."""
        return next(row[1:] for row in self.rows if row and row[0] == name)


def run_report(out, *arguments):
    """Run `eat report`; its page and the figures in it."""
    render_figure = eat.figures.style.render_figure
    drawn = []

    def render_and_keep(figure, kind):
        drawn.append(figure)
        return render_figure(figure, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eat.figures.style, "render_figure", render_and_keep)
        assert main(["report", *map(str, arguments), "--out", str(out)]) == 0
    return Page(out.read_text(encoding="utf-8")), drawn


@pytest.fixture
def report(tmp_path):
    """`report(*arguments)` runs `eat report`, see `run_report`; the page is `page.html`."""
    return partial(run_report, tmp_path / "page.html")


@pytest.fixture(scope="module")
def whole(resumed_run, tmp_path_factory):
    """The report of a whole run: (its folder, its page, the figures)."""
    folder = tmp_path_factory.mktemp("report")
    run_folder = shutil.copytree(resumed_run[0] / "run", folder / "run <1> & co")
    return run_folder, *run_report(folder / "page.html", run_folder)


@pytest.fixture
def run_folder(resumed_run, tmp_path):
    return shutil.copytree(resumed_run[0] / "run", tmp_path / "run")


def move_manifests(run_folder, **places):
    """Say in a run's record that its manifests are elsewhere."""
    record = json.loads((run_folder / "training.json").read_text())
    for name, place in places.items():
        record["starts"][-1]["data"][name]["manifest"] = place
    (run_folder / "training.json").write_text(json.dumps(record))


def test_the_page_needs_nothing_but_itself(whole):
    _, page, figures = whole
    assert page.source.startswith("<!DOCTYPE html>")
    outside = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert outside == [] and "script" not in page.tags
    sections = [link[1:] for link in page.links if link.startswith("#")]
    assert sections == page.ids and sections[:4] == ["repeat", "curves", "data", "masks"]
    assert "default-src 'none'" in page.source
    assert 'name="viewport" content="width=device-width' in page.source
    assert all(page.pictures) and all(src.startswith("data:") for src in page.pictures.values())
    assert len(page.pictures) == len(figures)


def test_facts_commands_and_settings_are_those_of_the_run(whole, manifests):
    run_folder, page, _ = whole
    losses = read_training_log(run_folder / "train.log")["train_inner"]["frame_loss"]
    for text in (
        f"{run_folder.parent.name}/run <1> & co",
        "Pre-training with pretrain_tiny",
        "updates 4 all, epoch",
        f"frame loss {losses[-1]:.3g} {losses[0]:.3g} at first",
        "No file was found that cannot be used.",
    ):
        assert text in page.text
    for start in read_starts(run_folder):
        assert shlex.join(start["command"]) in page.text and start["time"] in page.text
    speed = measure_speed(read_training_log(run_folder / "train.log")["train_inner"])
    assert page.row("sound")[0] == as_duration(1.28 * speed["clips_per_second"])
    assert page.row("torch")[0] == torch.__version__
    assert page.row("utterance_weight") == ["1.0"]
    assert page.row("clips") == ["12", "4"]
    assert page.row("manifest") == [str(manifests / f"{name}.tsv") for name in ("train", "valid")]
    assert page.row("sample rates") == ["16000 Hz (100 %)"] * 2
    assert "Not on this page" not in page.text


def test_figures_show_what_was_logged_masked_and_computed(whole):
    run_folder, _, figures = whole
    log = read_training_log(run_folder)["train_inner"]
    by_title = {axes.get_title(loc="left"): axes for figure in figures for axes in figure.axes}
    for column, title in (("frame_loss", "Frame loss"), ("gnorm", "Gradient norm")):
        np.testing.assert_array_equal(by_title[title].get_lines()[0].get_ydata(), log[column])
    titles = [str(row.get_suptitle()) for figure in figures for row in figure.subfigs]
    assert "Blocks of 3 x 3, 80 % hidden" in titles
    assert sum(title.startswith("What the student sees of it: 12 of 64") for title in titles) == 1
    embedded = next(axes for title, axes in by_title.items() if title.startswith("4 clips of"))
    assert sum(len(group.get_offsets()) for group in embedded.collections) == 4


def test_pictures_say_what_to_look_for(whole):
    _, page, figures = whole
    notes = [figure.get_suptitle().replace("\n", " ") for figure in figures]
    notes = [note.partition(":")[2] for note in notes if note.startswith("What to look for:")]
    for text in ("bars near V", "bright patches where the sounds are", "clips of one colour"):
        assert sum(text in note for note in notes) == 1, text
    ranks = read_training_log(whole[0])["valid"]
    assert f"the CLS tokens use {ranks['cls_rank'][-1]:.1f} of 3 possible directions" in page.text
    assert f"the patches use {ranks['patch_rank'][-1]:.1f} of 48 possible directions" in page.text


def test_another_run_is_drawn_below_and_compared_in_words(report, run_folder, tmp_path):
    log = (run_folder / "train.log").read_text()
    (tmp_path / "recorded.jsonl").write_text(log)
    page, figures = report(run_folder, "--compare", tmp_path / "recorded.jsonl")
    assert "run and recorded.jsonl agree: at update 4 the frame loss is" in page.text
    labels = [line.get_label() for line in figures[0].axes[0].get_lines()]
    assert labels[0] == "recorded.jsonl, training" and labels[-1] == "run, validation"


def test_the_example_has_sound(report, run_folder, manifests, tmp_path):
    shutil.copytree(manifests, tmp_path / "copy")
    audio, lines = tmp_path / "copy" / "audio", (manifests / "valid.tsv").read_text().splitlines()
    for name, num_samples in (("silence 1", 32_000), ("silence 2", 4_000)):  # mostly padding
        soundfile.write(audio / f"{name}.wav", np.zeros(num_samples), 16_000)
        lines.append(f"{name}.wav\t{num_samples}")
    lines[0] = str(audio)
    (tmp_path / "copy" / "valid.tsv").write_text("\n".join(lines) + "\n")
    move_manifests(run_folder, valid=str(tmp_path / "copy" / "valid.tsv"))
    page, _ = report(run_folder, "--num-embedded", 0)
    (example,) = (alt for alt in page.pictures if alt.startswith("Spectrogram of "))
    assert "silence" not in example and "Not on this page" not in page.text


def test_results_in_the_runs_folder_and_in_others(report, run_folder, tmp_path):
    for folder, name, values in (
        (run_folder / "evaluation", "metrics.json", EVALUATION),
        (tmp_path / "probes", "probe.json", PROBE),
    ):
        folder.mkdir()
        (folder / name).write_text(json.dumps(values))
    page, figures = report(run_folder, "--results", tmp_path / "probes", "--num-embedded", 0)
    assert page.row("accuracy")[0] == "0.7500" and page.row("mAP")[0] == "0.8125"
    assert page.row("d_prime")[0] == "not defined, or infinite"
    assert page.row("last.pt") == ["12", "cls", "knn", "0.500 ± 0.062"]
    assert str(run_folder / "evaluation" / "metrics.json") in page.text
    assert "gated: use CLS" in page.text
    assert any(alt.startswith("Weights of layers in ") for alt in page.pictures)
    classes, confusion = figures[:2]
    assert classes.get_suptitle().startswith("eval: mean average precision")
    assert classes.get_suptitle().endswith("over 1 classes; 1 without positives left out")
    assert confusion.get_suptitle().startswith("Confusion matrix")
    shares = confusion.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[0.75, 0.25], [0.25, 0.75]])


def test_names_are_text_and_never_markup(report, run_folder, manifests):
    bad = manifests / "unreadable.tsv"
    bad.write_text("<script>alert(1)</script>.wav\tno <i>samples</i>\n")
    (run_folder / "bad_audio.tsv").write_text("/data/torn.wav\ttrain.tsv:3: cut off\n")
    try:
        page, _ = report(run_folder, "--num-embedded", 0)
    finally:
        bad.unlink()
    assert "2 files that could not be used" in page.text
    assert ["/data/torn.wav", "train.tsv:3: cut off"] in page.rows
    assert ["<script>alert(1)</script>.wav", "no <i>samples</i>"] in page.rows
    assert not {"script", "i"} & page.tags


def test_a_run_whose_audio_is_gone_says_so_even_if_names_are_not_utf8(report, run_folder):
    move_manifests(run_folder, train="/gone/train.tsv", valid="/gone/\udcff.tsv")
    page, _ = report(run_folder)
    assert "Nothing about the clips of train: no such manifest: /gone/train.tsv" in page.text
    assert r"no such manifest: /gone/\udcff.tsv" in page.text
    assert "Masks" in page.text and "What the network sees" not in page.text


def test_a_log_alone_is_enough(report, run_folder):
    for path in run_folder.glob("*"):
        if path.name != "train.log":
            path.unlink()
    page, figures = report(run_folder)
    assert "No checkpoint has been saved yet" in page.text
    assert "updates 4" in page.text and len(figures) == 10


def test_each_of_several_corpora_has_a_column(report, run_folder, manifests):
    record = json.loads((run_folder / "training.json").read_text())
    data = record["starts"][-1]["data"]
    data["train"] = [data["train"], {"manifest": str(manifests / "valid.tsv"), "clips": 4}]
    (run_folder / "training.json").write_text(json.dumps(record))
    page, _ = report(run_folder)
    assert page.row("clips") == ["12", "4", "4"]
    assert page.row("too short") == ["0", "unknown", "0"]
    assert f"train of {manifests} train of {manifests} valid" in page.text


def test_a_checkpoint_alone_is_enough(report, run_folder):
    for name in ("train.log", "training.json"):
        (run_folder / name).unlink()
    page, _ = report(run_folder)
    assert "No curves:" in page.text and "found no train.log" in page.text
    assert "updates 4 all" in page.text and page.row("clips") == ["12", "4"]
    assert "Repeat it" not in page.text


def test_parts_that_cannot_be_made_are_left_out_and_named(report, run_folder, manifests, tmp_path):
    shutil.copytree(manifests, tmp_path / "moved")
    lines = (manifests / "valid.tsv").read_text().splitlines()
    longest = max(lines[1:], key=lambda line: int(line.split("\t")[1])).split("\t")[0]
    audio = tmp_path / "moved" / "audio"
    (audio / longest).write_bytes(b"RIFF")
    (tmp_path / "moved" / "valid.tsv").write_text("\n".join([str(audio), *lines[1:]]))
    move_manifests(run_folder, valid=str(tmp_path / "moved" / "valid.tsv"))
    (run_folder / "metrics.json").write_text("{}")
    (run_folder / "probe.json").write_text(json.dumps({"results": []}))
    record = json.loads((run_folder / "training.json").read_text())
    del record["starts"][-1]["machine"]
    (run_folder / "training.json").write_text(json.dumps(record))
    page, _ = report(run_folder)
    for note in (
        "metrics.json: found no results, expected a file of `eat evaluate --out`",
        "probe.json: UndefinedError(",
        f"Figures of {longest}: ",
        f"{longest} is not in the map of clips: ",
        "Environment: UndefinedError(",
    ):
        assert note in page.text.partition("Not on this page")[2]
    assert {"repeat", "curves", "data", "masks", "clips"} <= set(page.ids)
    assert "environment" not in page.ids


@pytest.mark.parametrize("content", [b"", b"{}", b'{"starts": [3]}'])
def test_damaged_files_spoil_their_own_parts_only(report, run_folder, content):
    for name in ("training.json", "checkpoint_last.pt"):
        (run_folder / name).write_bytes(content)
    page, figures = report(run_folder)
    notes = page.text.partition("Not on this page")[2]
    assert "training.json: not a record of how a run was started" in notes
    assert f"No configuration: {run_folder / 'checkpoint_last.pt'}: " in notes
    assert "No figures of masks and clips: " in notes
    assert page.ids == ["curves", "speed"] and len(figures) == 10


def test_folders_without_a_run_or_results_are_refused(run_folder, tmp_path, capsys):
    for arguments, message in (
        ([tmp_path / "none"], "none, expected a run's checkpoint.save_dir"),
        ([tmp_path], "found neither a log nor a checkpoint"),
        ([run_folder, "--log", tmp_path / "none"], "none, expected a folder or a log file"),
        ([run_folder, "--results", tmp_path / "none"], "none, expected the --out of `eat eval"),
    ):
        assert main(["report", *map(str, arguments), "--out", str(tmp_path / "page.html")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_fine_tuning_shows_its_loss(report, tmp_path):
    line = '{"loss": "%s", "num_updates": "%d"}\n'
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").write_text(line % (3.5, 10) + line % (2, 20))
    page, _ = report(tmp_path / "run")
    assert "updates 20 loss 2 3.5 at first Curves" in page.text


@pytest.mark.slow
def test_a_browser_has_nothing_to_complain_of(report, run_folder, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium")
    report(run_folder)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    for width in (1280, 390):
        shown = subprocess.run(
            [browser, *options, f"--window-size={width},900", "--dump-dom",
             f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert "</footer>" in shown.stdout
        assert "CONSOLE" not in shown.stderr, shown.stderr
