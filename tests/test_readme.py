"""The README's snippets run, and print what it says they print."""

import re
import shlex
import shutil

import numpy as np
import pytest
import quickstart
import soundfile
from helpers import GOLDEN, REPOSITORY
from omegaconf import OmegaConf
from synthesis import write_events

from eat.commands.main import COMMANDS, main

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# The published checkpoints that the README speaks of, and the recorded ones that stand for them:
# their width, blocks and classes replace the published sizes in what is printed.
CHECKPOINTS = {
    "EAT-base_epoch30_pt.pt": "official_pretrain.pt",
    "EAT-base_epoch30_ft.pt": "official_finetune.pt",
}
SIZES = {"768": "48", "12": "3", "527": "3"}


def blocks(section, language):
    text = README.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the README names."""
    for published, recorded in CHECKPOINTS.items():
        shutil.copy(GOLDEN / recorded, tmp_path / published)
    generator = np.random.default_rng(0)
    for name, rate in [("dog.flac", 16_000), ("rain.wav", 44_100), ("recordings/a.wav", 8_000)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, 0.1 * generator.standard_normal(rate), rate)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("section", ["Features", "Checkpoints"])
def test_python(section, folder, capsys):
    namespace = {}
    for code in blocks(section, "python"):
        capsys.readouterr()
        exec(compile(code, "README.md", "exec"), namespace)
        printed = capsys.readouterr().out.splitlines()
        expected = re.findall(r"^print\(.*?\)\s+# (.*)$", code, re.MULTILINE)
        assert printed == [
            re.sub(r"\d+", lambda size: SIZES.get(size[0], size[0]), line) for line in expected
        ]


def test_the_first_snippet_takes_what_the_quickstart_makes(folder, capsys):
    run = quickstart.Run(quickstart.parse_arguments([]))
    run.checkpoints.mkdir(parents=True)
    shutil.copy("EAT-base_epoch30_pt.pt", run.checkpoint)
    write_events(run.events, clips_per_class=1, seed=1, duration_seconds=quickstart.CLIP_SECONDS)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    capsys.readouterr()
    exec(compile(code, "README.md", "exec"), {})
    width = OmegaConf.load(REPOSITORY / "config" / "pretrain_tiny.yaml").model.embed_dim
    (comment,) = re.findall(r"# (torch.Size.*?):", code)
    assert capsys.readouterr().out.strip() == comment.replace(str(width), "48")


@pytest.mark.parametrize("section", ["Features", "Checkpoints"])
def test_commands(section, folder):
    lines = [line for block in blocks(section, "sh") for line in block.splitlines()]
    assert lines
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "eat"
        assert main([SIZES.get(word, word) for word in arguments]) == 0, line


def test_the_code_map_is_true_and_whole():
    text = README.split("\n## Code map\n", 1)[1].split("\n## ", 1)[0]
    package, folder, found = REPOSITORY / "user_dir" / "eat", "", set()
    for name in re.findall(r"`([\w/]+(?:/|\.py))`", text):
        # A file without a folder is in the one that was named before it.
        places = [package / name, package / folder / name, REPOSITORY / name]
        exists = [place for place in places if place.exists()]
        assert exists, name
        found.add(exists[0])
        folder = name if name.endswith("/") else folder
    rooms = {path for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    mentioned = {path for path in (*found, *(parent for path in found for parent in path.parents))}
    assert {path.name for path in rooms - mentioned} <= {"__init__.py", "__pycache__", "share"}


def test_every_command_is_listed():
    table = README.split("\n## Commands\n", 1)[1].split("\n## ", 1)[0]
    assert {word for word in re.findall(r"[\w-]+", table)} >= set(COMMANDS)


def test_it_is_short():
    assert len(README.encode()) <= 12 * 1024
