"""Names on the Hugging Face hub: its library fills its cache from a small hub of our own."""

import fnmatch
import hashlib
import json
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file

import eat
from eat.checkpoint.hub import local_path
from eat.commands.main import main

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/EAT-base_epoch30_pretrain"


class Hub(BaseHTTPRequestHandler):
    """The pages of the hub that its library asks for; `repositories` maps names to folders."""

    repositories: ClassVar[dict] = {}
    asked: ClassVar[list] = []

    def log_message(self, *args):
        pass

    def answer(self, status=200, content=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_GET(self):
        path = self.path.partition("?")[0].removeprefix("/api/models")
        name = next((name for name in self.repositories if path.startswith(f"/{name}/")), None)
        if name is None:
            self.answer(404, X_Error_Code="RepoNotFound")
            return
        what, _, rest = path.removeprefix(f"/{name}/").partition("/")
        folder = self.repositories[name]
        files = {f.relative_to(folder).as_posix(): f for f in folder.rglob("*") if f.is_file()}
        revision, _, file = rest.partition("/")
        if revision not in ("main", COMMIT):
            self.answer(404, X_Error_Code="RevisionNotFound")
        elif what == "revision":
            info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
            self.answer(content=json.dumps(info).encode())
        elif what == "tree":
            tree = [
                {"type": "file", "path": f, "size": p.stat().st_size, "oid": "0" * 40}
                for f, p in files.items()
            ]
            self.answer(content=json.dumps(tree).encode())
        elif "gated" in name:
            self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="ask first")
        else:
            self.asked.append(file)
            content = files[file].read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self.answer(content=content, ETag=f'"{etag}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


@pytest.fixture
def constants(monkeypatch, tmp_path):
    """The library's settings: its cache in a folder of this test."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra [hub]")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    return constants


@pytest.fixture
def hub(constants, monkeypatch, tmp_path, official_pretrain):
    """A hub with a repository that also holds what must not be fetched."""
    folder = tmp_path / "on the hub"
    eat.convert_checkpoint(official_pretrain, folder, to="huggingface")
    assert (folder / "modeling_eat.py").exists()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(Hub, "repositories", {NAME: folder, "someone/gated": folder})
    monkeypatch.setattr(Hub, "asked", [])
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def offline(constants, monkeypatch):
    def switch():
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    return switch


def test_a_name_gives_the_encoder_and_no_code_is_fetched(
    hub, offline, official_pretrain, golden, tmp_path
):
    expected = eat.load_encoder(official_pretrain)
    encoder = eat.load_encoder(NAME)
    with torch.no_grad():
        assert torch.equal(encoder(golden("source")), expected(golden("source")))
    assert {*hub.asked} == {"config.json", "model.safetensors"}
    assert not [*(tmp_path / "cache").rglob("*.py")]
    assert "modeling_eat" not in sys.modules
    offline()
    for name in (NAME, f"{NAME}@main", f"{NAME}@{COMMIT}", f"{NAME}:model.safetensors"):
        again = eat.load_encoder(name)
        assert torch.equal(again.cls_token, expected.cls_token)


def test_weights_under_other_names(hub, official_pretrain, official_finetune):
    folder = hub.repositories[NAME]
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    shutil.copy(official_finetune, folder / "ft.pt")
    (folder / "labels.txt").write_text("one\ntwo\nthree\n")
    shutil.copy(official_finetune, folder / "again.bin")
    classifier = eat.load_classifier(NAME)  # the only file of its kind, .pt before .bin
    assert classifier.labels is not None
    assert {*hub.asked} == {"ft.pt", "labels.txt"}
    assert local_path(f"{NAME}:again.bin").endswith(f"{COMMIT}/again.bin")


def test_of_several_files_one_must_be_named(hub, golden):
    folder = hub.repositories[NAME]
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    save_file({"x": torch.zeros(1)}, folder / "b.safetensors")
    with pytest.raises(FileNotFoundError, match=r"as in .*:a.safetensors \(a.safe.*, b.safe"):
        eat.load_encoder(NAME)
    assert eat.load_encoder(f"{NAME}:a.safetensors").config.embed_dim == 48
    with pytest.raises(FileNotFoundError, match=f"{NAME}:c.pt: found no c.pt in this repository"):
        eat.load_encoder(f"{NAME}:c.pt")
    with pytest.raises(ValueError, match="found the file modeling_eat.py, expected weights"):
        eat.load_encoder(f"{NAME}:modeling_eat.py")
    assert not fnmatch.filter(hub.asked, "*.py")


@pytest.mark.parametrize(
    "name, message",
    [
        ("no/such", "hub shows no no/such: check the name; if it is private, log in with `hf auth"),
        ("someone/gated", "huggingface.co/someone/gated asks for consent: give it there, then log"),
        (f"{NAME}@v9", f"huggingface.co/{NAME} has no revision v9"),
    ],
)
def test_what_the_hub_refuses(hub, name, message, capsys):
    assert main(["convert", name, "out.pt", "--to", "eat"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]  # after a progress bar
    assert f"no such checkpoint: {name} (" in line
    assert message in line


@pytest.mark.parametrize("is_offline", [True, False])
def test_what_is_not_in_the_cache_and_cannot_be_fetched(constants, monkeypatch, is_offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError) as error:
        eat.load_encoder(NAME)
    (line,) = str(error.value).splitlines()
    assert (
        f"no such file or folder here, and {NAME} cannot be fetched from the Hugging Face" in line
    )
    assert ("HF_HUB_OFFLINE is set: only its cache is read" in line) == is_offline


def test_a_path_wins_and_a_typo_is_not_looked_up(monkeypatch, tmp_path, official_pretrain):
    monkeypatch.setattr("eat.checkpoint.hub._fetch", lambda *_: pytest.fail("was looked up"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(official_pretrain, tmp_path / "checkpoints" / "there")
    assert eat.load_encoder("checkpoints/there").config.embed_dim == 48
    for name, reason in (
        ("somewhere/last.pt", "it ends as a file does"),
        ("checkpoints/lost", "the folder checkpoints is here; checkpoints/lost@main would be"),
    ):
        message = (
            f"no such checkpoint: {name} .nor is it looked up on the Hugging Face hub.*{reason}"
        )
        with pytest.raises(FileNotFoundError, match=message):
            eat.load_encoder(name)
    for name in ("last.pt", "./a/b", "/a/b", "a/b/c", "a/b:../c.pt", "a b/c", "a/b@", ""):
        with pytest.raises(FileNotFoundError, match=f"^no such checkpoint: {name}$"):
            eat.load_encoder(name)


def test_without_the_library(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["convert", NAME, "out.pt", "--to", "eat"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"no such checkpoint: {NAME} (to look it up" in line
    assert line.endswith("pip install 'eat-fairseq[hub]')")


def test_training_starts_from_a_name(hub, official_pretrain):
    pytest.importorskip("fairseq", reason="needs the extra [train]")
    from eat.models.pretraining import PretrainingModel, PretrainingModelConfig

    sizes = {"embed_dim": 48, "depth": 3, "num_heads": 4, "decoder_groups": 4}
    config = PretrainingModelConfig(init_from=NAME, average_top_k_layers=3, **sizes)
    model = PretrainingModel.build_model(config)
    expected = eat.load_encoder(official_pretrain).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in model.encoder.state_dict().items())
