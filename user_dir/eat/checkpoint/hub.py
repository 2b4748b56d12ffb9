"""Names of models on the Hugging Face hub, `owner/name[@revision][:file]`, as paths.

Weights, configuration and names of classes are all that is ever fetched: no code of a repository
reaches this machine.
"""

import os
import re

from .checkpoint import first_line
from .source import LABEL_FILES

# In the order of preference, if a repository has several; the last two are unpickled as data only.
WEIGHTS = (".safetensors", ".pt", ".bin")
_BESIDE = ("config.json", *LABEL_FILES)
_NAME = re.compile(r"(\w[\w.-]*)/(\w[\w.-]*)(?:@(\w[\w./-]*))?(?::((?:\w[\w.-]*/)*\w[\w.-]*))?")
_FORM = "owner/name[@revision][:file]"
_FILE_ENDINGS = (*WEIGHTS, ".pth", ".ckpt", ".onnx", ".json", ".npz", ".zip")


def local_path(path: str) -> str:
    """The file or folder that a path, or else a name on the hub, stands for.

    What exists here is never looked up. The library's own cache and settings (HF_HOME,
    HF_HUB_OFFLINE, HF_TOKEN...) hold.

    Raises:
        FileNotFoundError: there is no such file, and no such model can be reached.
        ModuleNotFoundError: a name on the hub without huggingface_hub.
    """
    if os.path.exists(path):
        return path
    match = _NAME.fullmatch(path)
    if match is None:
        raise FileNotFoundError(f"no such checkpoint: {path}")
    owner, name, revision, file = match.groups()
    reason = None
    if not (revision or file) and name.lower().endswith(_FILE_ENDINGS):
        reason = "it ends as a file does"
    elif not (revision or file) and os.path.isdir(owner):
        reason = f"the folder {owner} is here; {path}@main would be"
    if reason is not None:
        raise FileNotFoundError(
            f"no such checkpoint: {path} (nor is it looked up on the Hugging Face hub as {_FORM}:"
            f" {reason})"
        )
    if file is not None and not file.endswith(WEIGHTS):
        raise ValueError(f"{path}: found the file {file}, expected weights ({', '.join(WEIGHTS)})")
    return _fetch(path, f"{owner}/{name}", revision, file)


def _fetch(path: str, repository: str, revision: "str | None", file: "str | None") -> str:
    """The folder of a repository in the cache if it has `model.safetensors`, else its weights."""
    for weights in WEIGHTS if file is None else (file,):
        folder = _snapshot(path, repository, revision, [weights if file else f"*{weights}"])
        if file is not None and os.path.exists(os.path.join(folder, file)):
            return os.path.join(folder, file)
        found = sorted(name for name in os.listdir(folder) if name.endswith(weights))
        if file is None and "model.safetensors" in found:
            return folder
        if file is None and len(found) == 1:
            return os.path.join(folder, found[0])
        if file is None and found:
            listed = ", ".join(found)
            raise FileNotFoundError(
                f"{path}: found several files of weights, expected the name of one, as in"
                f" {path}:{found[0]} ({listed})"
            )
    wanted = file or f"weights ({', '.join(WEIGHTS)})"
    raise FileNotFoundError(f"{path}: found no {wanted} in this repository{_offline()}")


def _snapshot(path: str, repository: str, revision: "str | None", weights: "list[str]") -> str:
    """Bring files into the cache; returns their folder. One line for each way to fail."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"no such checkpoint: {path} (to look it up on the Hugging Face hub:"
            " pip install 'eat-fairseq[hub]')",
            name=error.name,
        ) from error
    page = f"https://huggingface.co/{repository}"
    try:
        return snapshot_download(repository, revision=revision, allow_patterns=[*weights, *_BESIDE])
    except errors.GatedRepoError as error:
        problem = f"{page} asks for consent: give it there, then log in with `hf auth login`"
        cause = error
    except errors.RepositoryNotFoundError as error:
        problem = (
            f"there is no such file or folder here, and the Hugging Face hub shows no {repository}:"
            " check the name; if it is private, log in with `hf auth login`"
        )
        cause = error
    except errors.RevisionNotFoundError as error:
        problem, cause = f"{page} has no revision {revision}", error
    except Exception as error:  # whatever library it uses for HTTP raises its own
        problem = (
            f"there is no such file or folder here, and {repository} cannot be fetched from the"
            f" Hugging Face hub: {first_line(error)}{_offline()}"
        )
        cause = error
    raise FileNotFoundError(f"no such checkpoint: {path} ({problem})") from cause


def _offline() -> str:
    """What to add to a message if the library may not use the network."""
    from huggingface_hub import constants

    return "; HF_HUB_OFFLINE is set: only its cache is read" if constants.HF_HUB_OFFLINE else ""
