import errno
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from eat.audio import read_audio
from eat.audio.finding import find_audio
from eat.data.manifest import Manifest
from eat.files import (
    InUseError,
    find_unfinished,
    link_file,
    lock_file,
    replace_file,
    sync_folder,
    url_problem,
    write_file,
)

# Locks the file that is its argument, says so, and waits in a process that it has forked as well.
LOCK_AND_WAIT = """
import os, sys, time
from eat.files import lock_file
with lock_file(sys.argv[1]):
    if os.fork():
        print("locked", flush=True)
    time.sleep(60)
"""


def test_a_file_is_written_in_a_new_folder(tmp_path, monkeypatch):
    write_file(tmp_path / "new" / "folder" / "a.txt", b"first")
    write_file(tmp_path / "new" / "folder" / "a.txt", b"second")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"second"
    monkeypatch.chdir(tmp_path)
    write_file("here.txt", b"third")
    assert (tmp_path / "here.txt").read_bytes() == b"third"


def test_a_file_is_replaced_only_when_complete(tmp_path):
    path = tmp_path / "report.tsv"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), replace_file(path) as file:
        file.write(b"half")
        assert path.read_text() == "before"
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    with replace_file(path) as file:
        file.write(b"after")
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["report.tsv"]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    # They may have the same process id, on two machines or in two containers.
    with replace_file(tmp_path / "a") as first, replace_file(tmp_path / "a") as second:
        first.write(b"first" * 9)
        second.write(b"second")
    assert (tmp_path / "a").read_bytes() == b"first" * 9  # which ended last
    assert os.listdir(tmp_path) == ["a"]


def test_the_longest_name(tmp_path):
    with replace_file(tmp_path / ("é" * 127)) as file:
        file.write(b"all of it")
    assert os.listdir(tmp_path) == ["é" * 127]


def test_a_file_in_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "missing" / "report.tsv"):
        pass


def test_a_second_name_is_the_same_file(tmp_path):
    source, path = tmp_path / "step 5.pt", tmp_path / "last.pt"
    source.write_text("new")
    path.write_text("old")
    link_file(source, path)
    link_file(source, path)
    assert path.read_text() == "new"
    assert os.path.samefile(source, path)
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "step 5.pt"]
    sync_folder(tmp_path)


def test_a_second_name_without_hard_links_is_a_copy(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("no hard links")

    source, path = tmp_path / "step 5.pt", tmp_path / "last.pt"
    source.write_text("new")
    monkeypatch.setattr(os, "link", refuse)
    link_file(source, path)
    assert path.read_text() == "new"
    assert not os.path.samefile(source, path)
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "step 5.pt"]


def test_a_second_name_for_a_missing_file_keeps_the_old_one(tmp_path):
    path = tmp_path / "last.pt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        link_file(tmp_path / "gone.pt", path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["last.pt"]


def test_what_killed_processes_left_is_found(tmp_path):
    for name in (".a b.pt.123.tmp", "a.pt.tmp", ".a.pt.x.tmp", "a.pt"):
        (tmp_path / name).touch()
    found = list(find_unfinished(tmp_path))
    assert found == [(str(tmp_path / ".a b.pt.123.tmp"), str(tmp_path / "a b.pt"))]
    assert list(find_unfinished(tmp_path / "nowhere")) == []


@pytest.fixture
def owner(tmp_path):
    """Another process that has locked `tmp_path / "lock"`, and a child of it that lives on."""
    path = tmp_path / "lock"
    command = [sys.executable, "-c", LOCK_AND_WAIT, str(path)]
    pipes = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        os.killpg(process.pid, 9)


def test_what_another_process_has_locked_names_it_until_it_is_killed(owner, tmp_path):
    path = tmp_path / "lock"
    words = rf"{path}: in use by process {owner.pid} on {re.escape(socket.gethostname())} since 20"
    for _ in range(2):  # a refusal does not free it
        with pytest.raises(InUseError, match=words), lock_file(path):
            pass
    shutil.copy(path, tmp_path / "copy")
    with lock_file(tmp_path / "copy"):  # as in a folder that was copied
        pass
    owner.kill()
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
    assert path.exists()
    with lock_file(path):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert os.listdir(tmp_path) == []


def test_a_file_that_the_last_owner_removes_meanwhile_is_made_again(tmp_path, monkeypatch):
    path, lock = tmp_path / "lock", fcntl.lockf

    def lock_late(descriptor, how):
        lock(descriptor, how)
        monkeypatch.setattr(fcntl, "lockf", lock)
        path.unlink()

    monkeypatch.setattr(fcntl, "lockf", lock_late)
    with lock_file(path):
        assert path.exists()


def test_a_disk_without_locks_is_only_warned_of(tmp_path, monkeypatch, caplog):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with lock_file(tmp_path / "lock"):
        pass
    assert len(caplog.records) == 1
    assert "cannot be locked ([Errno 37] No locks available); going on" in caplog.text


@pytest.mark.parametrize("scheme", ["s3", "gs", "https", "file"])
def test_a_url_is_refused_wherever_a_path_is_expected(tmp_path, scheme):
    url = f"{scheme}://bucket/audio"
    manifests = {"root": f"{url}\na.wav\t9\n", "clip": f"/data\na.wav\t9\n{url}/b.wav\t9\n"}
    for name, text in manifests.items():
        (tmp_path / f"{name}.tsv").write_text(text)
    for use, place in (
        (lambda: read_audio(f"{url}/a.wav"), f"{url}/a.wav: "),
        (lambda: read_audio(f"{url}/a.tar:512:9"), f"{url}/a.tar:512:9: "),
        (lambda: find_audio(url), f"{url}: "),
        (lambda: Manifest(f"{url}/train.tsv"), f"{url}/train.tsv: "),
        (lambda: Manifest(tmp_path / "root.tsv"), f"{tmp_path}/root.tsv:1: '{url}': "),
        (lambda: Manifest(tmp_path / "clip.tsv"), f"{tmp_path}/clip.tsv:3: '{url}/b.wav': "),
    ):
        with pytest.raises(ValueError, match=f"^{place}found a URL, expected a local path"):
            use()
    assert url_problem("/a/s3://b") is url_problem("C:/b") is url_problem("a:b") is None
