"""What a training run leaves in its folder, `checkpoint.save_dir`, beside its checkpoints.

    train.log        what was logged, the statistics of training among it
    training.json    how it was started, each time: command, place, versions, machine, data

Written by the first worker, by `eat.tasks`; read by `eat plot curves` and `eat report`.
"""

import os
from typing import Union

RunPath = Union[str, "os.PathLike[str]"]

LOG_NAME = "train.log"
RECORD_NAME = "training.json"


def find_log(run: RunPath) -> str:
    """The file with a run's statistics.

    Args:
        run: the run's folder, or the file itself.

    Raises:
        FileNotFoundError: there is no such folder or file, or the folder holds no log.
    """
    run = os.fspath(run)
    if not os.path.isdir(run):
        if not os.path.exists(run):
            raise FileNotFoundError(f"no such run: {run}, expected a folder or a log file")
        return run
    path = os.path.join(run, LOG_NAME)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{run}: found no {LOG_NAME}, expected the checkpoint.save_dir of a training run, or a"
            " file with what it printed"
        )
    return path
