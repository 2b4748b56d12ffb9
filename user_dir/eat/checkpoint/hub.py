"""Names of models on the Hugging Face hub, `owner/name[@revision][:file]`, as paths.

Weights, configuration and names of classes are all that is ever fetched: no code of a repository
reaches this machine.
"""

import os
import re
from pathlib import Path
from typing import Optional

from .checkpoint import first_line
from .huggingface import CONFIG
from .huggingface import WEIGHTS as USUAL_WEIGHTS
from .source import LABEL_FILES

# In the order of preference, if a repository has several; the last two are unpickled as data only.
WEIGHTS = (".safetensors", ".pt", ".bin")
_FILE_ENDINGS = (*WEIGHTS, ".pth", ".ckpt", ".onnx", ".json", ".npz", ".zip")
_NAME = re.compile(r"(\w[\w.-]*)/(\w[\w.-]*)(?:@(\w[\w./-]*))?(?::((?:\w[\w.-]*/)*\w[\w.-]*))?")


def local_path(path: str) -> str:
    """The file or folder that a path, or else a name on the hub, stands for.

    What exists here is never looked up. The library's own cache and settings (HF_HOME,
    HF_HUB_OFFLINE, HF_TOKEN...) hold.

    Raises:
        FileNotFoundError: there is no such file, and no such model can be reached.
        ModuleNotFoundError: a name on the hub without huggingface_hub.
        ValueError: the file that is named holds no weights.
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
            f"no such checkpoint: {path} (nor is it looked up on the Hugging Face hub as"
            f" owner/name[@revision][:file]: {reason})"
        )
    if file is not None and not file.endswith(WEIGHTS):
        raise ValueError(f"{path}: found the file {file}, expected weights ({', '.join(WEIGHTS)})")
    return _fetch(path, f"{owner}/{name}", revision, file)


def _fetch(path: str, repository: str, revision: Optional[str], file: Optional[str]) -> str:
    """The weights of a repository, in the cache."""
    for pattern in [file] if file else [f"*{ending}" for ending in WEIGHTS]:
        folder = Path(_snapshot(path, repository, revision, pattern))
        found = sorted(folder.glob(pattern))
        found = [one for one in found if one.name == USUAL_WEIGHTS] or found
        if len(found) == 1:
            return str(found[0])
        if found:
            names = [one.name for one in found]
            raise FileNotFoundError(
                f"{path}: found several files of weights, expected the name of one, as in"
                f" {path}:{names[0]} ({', '.join(names)})"
            )
    raise FileNotFoundError(f"{path}: found no {file or 'weights'} in this repository{_offline()}")


def _snapshot(path: str, repository: str, revision: Optional[str], weights: str) -> str:
    """Bring files into the cache; returns their folder. One line for each way to fail."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"no such checkpoint: {path} (to look it up on the Hugging Face hub:"
            " pip install 'eat-fairseq[hub]')",
            name=error.name,
        ) from error
    page, login = f"https://huggingface.co/{repository}", "log in with `hf auth login`"
    nothing = "there is no such file or folder here, and"
    problems = {  # the first is also of the second kind
        errors.GatedRepoError: f"{page} asks for consent: give it there, then {login}",
        errors.RepositoryNotFoundError: f"{nothing} the Hugging Face hub shows no {repository}:"
        f" check the name; if it is private, {login}",
        errors.RevisionNotFoundError: f"{page} has no revision {revision}",
    }
    files = [weights, CONFIG, *LABEL_FILES]
    try:
        return snapshot_download(repository, revision=revision, allow_patterns=files)
    except Exception as error:  # whatever library it uses for HTTP raises its own
        reason = f"{first_line(error)}{_offline()}"
        other = f"{nothing} {repository} cannot be fetched from the Hugging Face hub: {reason}"
        known = (text for kind, text in problems.items() if isinstance(error, kind))
        raise FileNotFoundError(f"no such checkpoint: {path} ({next(known, other)})") from error


def _offline() -> str:
    """What to add to a message if the library may not use the network."""
    from huggingface_hub import constants

    return "; HF_HUB_OFFLINE is set: only its cache is read" if constants.HF_HUB_OFFLINE else ""
