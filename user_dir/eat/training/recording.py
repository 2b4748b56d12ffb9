"""What the first worker writes into a run's folder when its training starts."""

import logging
import os
from typing import Any, Dict, Mapping

from fairseq.distributed import utils as distributed
from torch import nn

from eat.data.datasets import SpectrogramDataset

from .record import LOG_NAME, add_start, describe_process

logger = logging.getLogger(__name__)

_FORMAT = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"  # fairseq's own


class RunLog(logging.FileHandler):
    """Copies what is logged to a run's folder.

    fairseq's `common.log_file` does it too, but repeats each line once per epoch so far.
    """

    def __init__(self, folder: str) -> None:
        # Names of clips need not be UTF-8.
        path = os.path.join(folder, LOG_NAME)
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter(_FORMAT))

    def attach(self) -> None:
        """Listen to all loggers, in place of the log of an earlier run of this process."""
        root = logging.getLogger()
        for handler in [other for other in root.handlers if isinstance(other, RunLog)]:
            root.removeHandler(handler)
            handler.close()
        root.addHandler(self)


def record_start(
    folder: str, epoch: int, model: nn.Module, datasets: Mapping[str, SpectrogramDataset]
) -> None:
    """Note how a training was started, and log to its folder from now on.

    Only the first worker does so. A note that cannot be written is only warned of.

    Args:
        folder: of the run.
        epoch: with which the training starts or continues.
        model: what is trained.
        datasets: by split.
    """
    if distributed.get_global_rank() != 0:
        return
    try:
        RunLog(folder).attach()
        add_start(
            folder,
            {
                **describe_process(),
                "epoch": epoch,
                "num_workers": distributed.get_world_size(distributed.get_global_group()),
                "parameters": _count_parameters(model),
                "data": {split: _describe(dataset) for split, dataset in datasets.items()},
            },
        )
    except (OSError, ValueError) as error:
        logger.warning("%s: the start of the training could not be noted: %s", folder, error)


def _count_parameters(model: nn.Module) -> Dict[str, int]:
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {
        "trained": sum(size for size, is_trained in sizes if is_trained),
        "all": sum(size for size, _ in sizes),
    }


def _describe(dataset: SpectrogramDataset) -> Dict[str, Any]:
    manifest = dataset.manifest
    return {"manifest": manifest.file, "clips": len(manifest), "used": len(dataset.clips)}
