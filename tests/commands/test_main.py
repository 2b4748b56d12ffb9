import os
import subprocess
import sys

import pytest
from helpers import write_clips, write_tsv

import eat
from eat.commands import main as module
from eat.commands.main import main


@pytest.fixture
def failing_command(monkeypatch):
    """Makes `eat stats x` fail with the given exception."""

    def failing_command(error):
        def run(args):
            raise error

        monkeypatch.setattr("eat.commands.stats.run", run)

    return failing_command


@pytest.mark.parametrize(
    "error",
    [
        ValueError("train.tsv:3: found 'x'"),
        FileNotFoundError("train.tsv:3: found 'x'"),
        PermissionError("train.tsv:3: found 'x'"),
    ],
)
def test_expected_errors_are_one_line_and_status_1(failing_command, capsys, error):
    failing_command(error)
    assert main(["stats", "x"]) == 1
    assert capsys.readouterr() == ("", "eat stats: error: train.tsv:3: found 'x'\n")


def test_other_errors_keep_their_traceback(failing_command):
    failing_command(ZeroDivisionError("a mistake of ours"))
    with pytest.raises(ZeroDivisionError):
        main(["stats", "x"])


def test_interrupted(failing_command, capsys):
    failing_command(KeyboardInterrupt())
    assert main(["stats", "x"]) == 130
    assert capsys.readouterr() == ("", "eat stats: interrupted\n")


def test_a_reader_that_has_read_enough(tmp_path):
    """As in `eat stats ... | head`."""
    write_tsv(tmp_path / "train.tsv", tmp_path / "audio", write_clips(tmp_path / "audio", 2))
    command = [sys.executable, "-m", "eat.commands.main", "stats", str(tmp_path / "train.tsv")]
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_other_broken_pipes_are_errors(failing_command, capsys):
    failing_command(BrokenPipeError("a worker has ended"))
    assert main(["stats", "x"]) == 1
    assert capsys.readouterr().err == "eat stats: error: a worker has ended\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["manifest"], "required: ACTION"),
        (["stats"], "required: MANIFEST"),
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


@pytest.mark.parametrize("command", module.COMMANDS)
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    assert f"usage: eat {command}" in capsys.readouterr().out


def test_help_lists_the_commands_without_importing_torch():
    code = (
        "import sys\n"
        "from eat.commands.main import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print('slow:', {'torch', 'fairseq', 'soundfile'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert all(f"\n    {command}" in result.stdout for command in module.COMMANDS)
    assert result.stdout.endswith("slow: set()\n")


def test_names_that_the_terminal_cannot_show():
    code = (
        "import sys; from eat.commands import stats; from eat.commands.main import main;"
        "stats.run = lambda args: print('\\udcff \\u6f22 a.wav') or 0;"
        "sys.exit(main(['stats', 'x']))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"\\udcff \\u6f22 a.wav\n"), done.stderr
