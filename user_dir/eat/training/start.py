"""What a training does once, when it starts: its memory, its log, and a note of how it started."""

import logging
import os
from dataclasses import fields
from itertools import pairwise
from typing import Any, Callable, Dict, List, Mapping, Union

from fairseq.distributed import utils as distributed
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from torch import nn

from eat.data.datasets import SpectrogramDataset
from eat.words import nearest

from .contradictions import check_settings
from .output import end_early_messages, quieten, show_errors_in_one_line
from .record import LOG_NAME, add_start, describe_process
from .stopping import listen

logger = logging.getLogger(__name__)

_FORMAT = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"  # fairseq's own


def beginning(add_defaults: Callable[[DictConfig], None], cfg: DictConfig) -> None:
    """fairseq's function that completes the configuration; here a training begins."""
    show_errors_in_one_line()
    listen()
    quieten(cfg)
    try:
        add_defaults(cfg)
    except OmegaConfBaseException as error:
        raise ValueError(_explain(cfg, error)) from error
    if str(cfg.task._name).startswith("eat_") and not OmegaConf.is_missing(cfg.task, "data"):
        check_settings(cfg)
        if OmegaConf.is_list(cfg.task.data):  # fairseq looks for such subsets in a string
            cfg.dataset.ignore_unused_valid_subsets = True


def _explain(cfg: DictConfig, error: OmegaConfBaseException) -> str:
    """An error of omegaconf about a setting, with the key as users write it."""
    key = str(error.full_key)
    name = key.partition("[")[0]  # of a list
    sections = [one for one, node in cfg.items() if isinstance(node, DictConfig) and name in node]
    full_key = ".".join([*sections[:1], key])
    if isinstance(error, ConfigKeyError):
        names = [one.name for one in fields(error.object_type)]
        return f"{full_key}: found an unknown setting{nearest(key, names)}"
    return f"{full_key}: {str(error).splitlines()[0]}"


def log_to(folder: str) -> None:
    """Copy all log messages to a run's folder, and no longer to that of an earlier run.

    fairseq's `common.log_file` writes each line again for every epoch that has begun.
    """
    root, path = logging.getLogger(), os.path.join(folder, LOG_NAME)
    # Names of clips need not be UTF-8.
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.set_name(LOG_NAME)
    end_early_messages(handler)
    for earlier in [one for one in root.handlers if one.get_name() == LOG_NAME]:
        root.removeHandler(earlier)
        earlier.close()
    root.addHandler(handler)


def record_start(
    folder: str, epoch: int, model: nn.Module, datasets: Mapping[str, SpectrogramDataset]
) -> None:
    """Open the run's log and add this start to its record, in the first worker only.

    If they cannot be written this is a warning, and the training goes on. `folder` is the run's
    `checkpoint.save_dir`, `epoch` the one in which it starts or continues; `datasets` are by split.
    """
    if distributed.get_global_rank() != 0:
        return end_early_messages()
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    try:
        log_to(folder)
        add_start(
            folder,
            {
                **describe_process(),
                "epoch": epoch,
                "num_workers": distributed.get_world_size(distributed.get_global_group()),
                "parameters": {
                    "trained": sum(size for size, is_trained in sizes if is_trained),
                    "all": sum(size for size, _ in sizes),
                },
                "data": {split: _describe(dataset) for split, dataset in datasets.items()},
            },
        )
    except (OSError, ValueError) as error:
        logger.warning("%s: the start of the training could not be noted: %s", folder, error)
        end_early_messages()


def _describe(dataset: SpectrogramDataset) -> Union[Dict[str, Any], List[Dict[str, Any]]]:
    """What is used of a manifest, or of each of several."""
    used = (end - begin for begin, end in pairwise(dataset.bounds))
    parts = [
        {"manifest": part.file, "clips": len(part), "used": count}
        for part, count in zip(dataset.manifest.parts, used, strict=True)
    ]
    return parts if len(parts) > 1 else parts[0]
