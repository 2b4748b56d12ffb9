"""Checkpoints of fairseq's trainer: complete or absent when written, never executed when read.

These functions take the place of fairseq's own; `replacements` says which, and why.
"""

import atexit
import logging
import os
import time
from contextlib import ExitStack
from typing import Any, Dict, Optional, Set

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.file_io import PathManager
from omegaconf import OmegaConf

from eat.checkpoint import CheckpointError
from eat.checkpoint.loading import read_pickle
from eat.files import InUseError, find_unfinished, link_file, lock_file, replace_file, sync_folder

from .record import LOCK_NAME, RECORD_NAME
from .workers import check_alone

logger = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 5.0)  # pauses before another attempt to write a file

# What a file must hold for a run to be resumed.
_TRAINING_STATE = {"cfg": dict, "model": dict, "optimizer_history": list, "extra_state": dict}

_locked: Set[str] = set()  # folders of this process's runs, until it ends
_locks = ExitStack()
atexit.register(_locks.close)

_fairseq_save = checkpoint_utils.torch_persistent_save
_fairseq_verify = checkpoint_utils.verify_checkpoint_directory
_fairseq_copy = PathManager.copy


def save_checkpoint(obj: Dict[str, Any], filename: str, async_write: bool = False) -> None:
    """Write a checkpoint; an older one of that name stays until this one is on the disk.

    An OSError says that several attempts failed; the older one is then untouched.
    """
    if async_write or not PathManager.supports_rename(filename):  # not to a disk
        return _fairseq_save(obj, filename, async_write)
    for pause_seconds in (*RETRY_SECONDS, None):
        try:
            with replace_file(filename) as file:
                torch.save(obj, file)
            return sync_folder(os.path.dirname(os.path.abspath(filename)))
        except (OSError, RuntimeError) as error:
            reason = _disk_error(error)
            if reason is None:
                raise
            if pause_seconds is None:
                raise _not_written(filename, reason) from error
            logger.warning("%s: %s; trying again", filename, reason.strerror)
            time.sleep(pause_seconds)


def copy_checkpoint(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
    """Give a checkpoint a further name, `checkpoint_last.pt` for example."""
    if not PathManager.supports_rename(dst_path):
        return _fairseq_copy(src_path, dst_path, overwrite)
    try:
        link_file(src_path, dst_path)
        sync_folder(os.path.dirname(os.path.abspath(dst_path)))
    except OSError as error:
        raise _not_written(dst_path, error) from error
    return True


def load_checkpoint_to_cpu(
    path: str, arg_overrides: Optional[Dict[str, Any]] = None, load_on_all_ranks: bool = False
) -> Dict[str, Any]:
    """Read a training checkpoint: `checkpoint.restore_file`, `finetune_from_model` and the like.

    A CheckpointError for a file that is damaged, would run code, or is no checkpoint of fairseq.
    """
    # Read into memory, not mapped: the file may be replaced while it is in use.
    state = read_pickle(PathManager.get_local_path(path), mapped=False)
    if any(not isinstance(state.get(key), kind) for key, kind in _TRAINING_STATE.items()):
        raise CheckpointError(
            f"{path}: found no training state (top-level keys: {', '.join(map(str, state))}),"
            " expected a checkpoint of fairseq's trainer (model.init_from takes others)"
        )
    state["cfg"] = OmegaConf.create(state["cfg"])
    if arg_overrides is not None:
        overwrite_args_by_name(state["cfg"], arg_overrides)
    return state


def prepare_folder(save_dir: str) -> None:
    """Keep a run's folder from other runs, and remove unfinished files of killed ones.

    An OSError says that the folder cannot be written to, or that another run writes to it, a
    ValueError that this process is one of several that would.
    """
    check_alone()
    try:
        _fairseq_verify(save_dir)
    except OSError as error:
        raise type(error)(
            error.errno, f"checkpoint.save_dir: cannot write to {save_dir} ({error.strerror})"
        ) from error
    _lock(save_dir)
    for path, place in find_unfinished(save_dir):
        if place.endswith((".pt", RECORD_NAME)):
            logger.info("removing %s, which a killed run left", path)
            os.remove(path)


def _lock(save_dir: str) -> None:
    folder = os.path.realpath(save_dir)
    if folder in _locked:
        return
    try:
        _locks.enter_context(lock_file(os.path.join(folder, LOCK_NAME)))
    except InUseError as error:
        raise OSError(
            f"checkpoint.save_dir: found {save_dir} in use by {error.owner}, expected a folder to"
            " which no other run writes: end that run, or set another checkpoint.save_dir"
        ) from error
    _locked.add(folder)


def _disk_error(error: Optional[BaseException]) -> Optional[OSError]:
    """The operating system's error behind one of torch's."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _not_written(filename: str, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"{filename}: could not be written: {error.strerror}. Earlier checkpoints are untouched:"
        " repair the cause, then start the same command again",
    )
