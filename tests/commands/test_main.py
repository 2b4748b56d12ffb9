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


FOUND = "train.tsv:3: found 'x'"


@pytest.mark.parametrize(
    "error, status, message",
    [
        *((kind(FOUND), 1, f"error: {FOUND}") for kind in (ValueError, FileNotFoundError)),
        (PermissionError(FOUND), 1, f"error: {FOUND}"),
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


@pytest.mark.parametrize(
    "arguments, start",
    [
        (["--version"], f"eat {eat.__version__}\n"),
        *(([command, "--help"], f"usage: eat {command}") for command in module.COMMANDS),
    ],
)
def test_what_is_asked_about_the_program(capsys, arguments, start):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith(start)


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
