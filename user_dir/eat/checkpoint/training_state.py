"""What a checkpoint of fairseq's trainer says of its run, apart from the weights."""

from typing import Any, Dict, NamedTuple, Optional

from .checkpoint import CheckpointError
from .loading import CheckpointPath, read_pickle


class TrainingState(NamedTuple):
    """The state of a run when it saved.

    Attributes:
        cfg: the whole configuration, by section.
        num_updates: so far.
        epoch: the one it was in.
        best_metric: the best value of `checkpoint.best_checkpoint_metric`; None before the first
            validation.
        training_seconds: of all starts together.
    """

    cfg: Dict[str, Any]
    num_updates: int
    epoch: int
    best_metric: Optional[float]
    training_seconds: float


def read_training_state(path: CheckpointPath) -> TrainingState:
    """Read it from a checkpoint that `fairseq-hydra-train` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, or no such checkpoint.
    """
    state = read_pickle(str(path))
    try:
        extra = state["extra_state"]
        return TrainingState(
            cfg=state["cfg"],
            num_updates=state["optimizer_history"][-1]["num_updates"],
            epoch=extra["train_iterator"]["epoch"],
            best_metric=extra.get("best"),
            training_seconds=float(extra.get("previous_training_time", 0)),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: found no training state ({error}), expected a checkpoint of"
            " fairseq-hydra-train"
        ) from error
