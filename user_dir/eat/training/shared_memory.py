"""Batches go from the processes that load them through /dev/shm, which may be too small."""

import functools
from typing import Any, Callable

import torch
from torch.utils.data import get_worker_info


class SharedMemoryError(OSError):
    """A process that loads batches cannot hand them over."""

    @classmethod
    def because(cls, error: BaseException) -> "SharedMemoryError":
        """What to do about an error of torch's or the system's."""
        return cls(
            "dataset.num_workers: /dev/shm has no room for the batches of the processes that load"
            " them; give it more (docker run --shm-size=8g, or --ipc=host), or set"
            f" dataset.num_workers=0 ({' '.join(str(error).split())})"
        )


def in_shared_memory(collate: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which in a loading process puts the batch where its parent can read it.

    torch does so in a thread. That thread drops a batch for which there is no room and only prints
    an error, so that the parent waits for ever.
    """
    return functools.partial(_collate_in_shared_memory, collate)


def _collate_in_shared_memory(collate: Callable[..., Any], *samples: Any) -> Any:
    batch = collate(*samples)
    if get_worker_info() is not None:
        try:
            _share(batch)
        except RuntimeError as error:
            raise SharedMemoryError.because(error) from error
    return batch


def _share(value: Any) -> None:
    if torch.is_tensor(value):
        value.share_memory_()
    for part in value.values() if isinstance(value, dict) else ():
        _share(part)
