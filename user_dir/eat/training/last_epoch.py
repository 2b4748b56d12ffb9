"""The end of a run that `optimization.max_epoch` ends is validated and saved."""

import functools
import sys
from typing import Any, Callable


def install() -> None:
    """Replace what fairseq's command line calls between epochs; the door calls it."""
    train = sys.modules.get("fairseq_cli.train")
    if train is not None:
        train.validate_and_save = saving_the_last(train.validate_and_save)


def saving_the_last(validate_and_save: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which does both after the last epoch whatever the intervals are.

    By itself fairseq ends such a run without a word, and what was learnt since it last saved is
    lost.
    """

    @functools.wraps(validate_and_save)
    def save(cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch):
        max_epoch = cfg.optimization.max_epoch
        if end_of_epoch and 0 < max_epoch < epoch_itr.next_epoch_idx:
            cfg.checkpoint.save_interval = cfg.dataset.validate_interval = 1
        return validate_and_save(cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch)

    return save
