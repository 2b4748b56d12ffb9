import importlib
import os
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
from helpers import write_clips, write_tsv

import eat
from eat.commands.main import COMMANDS, main
from eat.commands.options import add_options, option


@pytest.fixture
def failing_command(monkeypatch):
    """Makes `eat stats x` fail with the given exception."""

    def failing_command(error):
        def run(args):
            raise error

        monkeypatch.setattr("eat.commands.stats.run", run)

    return failing_command


@pytest.mark.parametrize(
    "error, status, message",
    [
        (ValueError("train.tsv:3: found 'x'"), 1, "error: train.tsv:3: found 'x'"),
        (FileNotFoundError("train.tsv:3: found 'x'"), 1, "error: train.tsv:3: found 'x'"),
        (PermissionError("train.tsv:3: found 'x'"), 1, "error: train.tsv:3: found 'x'"),
        (BrokenPipeError("a worker has ended"), 1, "error: a worker has ended"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_expected_errors_are_one_line(failing_command, capsys, error, status, message):
    failing_command(error)
    assert main(["stats", "x"]) == status
    assert capsys.readouterr() == ("", f"eat stats: {message}\n")


def test_other_errors_keep_their_traceback(failing_command):
    failing_command(ZeroDivisionError("a mistake of ours"))
    with pytest.raises(ZeroDivisionError):
        main(["stats", "x"])


@dataclass(kw_only=True)
class Percent:
    """Halve."""

    EXAMPLE: ClassVar[str] = "eat halve"

    half: bool = option("by 50 %", False)
    share: float = option("by a share, 50 %", 0.5)


def test_help_may_hold_a_percent_sign():
    parser = ArgumentParser()
    add_options(parser, Percent)
    found = parser.format_help()
    assert "by 50 %\n" in found and "by a share, 50 % (default: 0.5)\n" in found


def test_a_reader_that_has_read_enough(tmp_path):
    """As in `eat stats ... | head`."""
    write_tsv(tmp_path / "train.tsv", tmp_path / "audio", write_clips(tmp_path / "audio", 2))
    command = [sys.executable, "-m", "eat.commands.main", "stats", str(tmp_path / "train.tsv")]
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["manifest"], "required: ACTION"),
        (["stats"], "required: MANIFEST"),
        (["convert", "a", "b", "--too", "eat"], "unrecognized option --too; the nearest is --to"),
        (["stats", "x", "--seed", "-1"], "found '-1', expected a whole number of at least 0"),
        (["stats", "x", "--seed", "1.5"], "found '1.5', expected a whole number of at least 0"),
        (["stats", "x", "--workers", "0"], "found '0', expected a whole number of at least 1"),
        (["stats", "x", "--max-seconds", "long"], "found 'long', expected a number of at least 1"),
        (["stats", "x", "--max-seconds", "nan"], "found 'nan', expected a number of at least 1"),
        (["stats", "x", "--max-seconds", "0.5"], "found '0.5', expected a number of at least 1"),
    ],
)
def test_wrong_usage_is_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"eat {eat.__version__}\n"


def test_every_command_has_help_that_imports_nothing_slow():
    code = (
        "import sys\n"
        "from eat.commands.main import COMMANDS, main\n"
        "for arguments in [[], *([command] for command in COMMANDS), ['manifest', 'folder']]:\n"
        "    try: main([*arguments, '--help'])\n"
        "    except SystemExit as exit: assert exit.code == 0\n"
        "print('slow:', {'torch', 'numpy', 'fairseq', 'soundfile', 'matplotlib'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for command in COMMANDS:
        assert f"\n    {command}" in result.stdout
        assert f"usage: eat {command} " in result.stdout
    assert result.stdout.endswith("slow: set()\n")


def _all_options():
    """The words that call each command and action, and its options; groups have None."""
    for command in COMMANDS:
        module = importlib.import_module(f"eat.commands.{command}")
        if hasattr(module, "Options"):
            yield [command], module.Options
        else:
            yield [command], None
            yield from (([command, name], options) for name, (options, _) in module.ACTIONS.items())


@pytest.mark.parametrize("words, options", [([], None), *_all_options()])
def test_every_help_ends_with_an_example_and_holds_whole_texts(capsys, words, options):
    with pytest.raises(SystemExit) as exit:
        main([*words, "--help"])
    assert exit.value.code == 0
    last = capsys.readouterr().out.rstrip("\n").split("\nexample:\n")[-1]
    assert last.startswith(f"  {' '.join(['eat', *words])} ") and "\n" not in last
    for one in fields(options) if options else ():
        text = one.metadata["help"]
        first = text.split()[0].strip(",:")
        assert first not in {"of", "e.g.", "or", "and", "by", "added", "colour", "fp32"}, text
        assert " " in text, text


def test_names_that_the_terminal_cannot_show():
    code = (
        "import sys; from eat.commands import stats; from eat.commands.main import main;"
        "stats.run = lambda args: print('\\udcff \\u6f22 a.wav') or 0;"
        "sys.exit(main(['stats', 'x']))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"\\udcff \\u6f22 a.wav\n"), done.stderr
