"""Updates without finite gradients: each is skipped, and several in a row end the run."""

import logging
from typing import Any, Callable, List, Tuple

from fairseq.optim import FairseqOptimizer
from torch import Tensor

logger = logging.getLogger(__name__)

NUM_NAMED_CLIPS = 8  # in a message


class TrainingHealthError(RuntimeError):
    """A run cannot learn any more; the message says why and what to do."""


class GradientGuard:
    """Decides whether the optimizer takes a step.

    In float32 and bfloat16 it takes one if all gradients are finite. In fp16 fairseq's loss scaler
    decides: it tries larger and larger scales to find the one that fits, so only the steps that it
    skips at a scale below 1 count here.

    Args:
        max_skipped: the number of skipped steps in a row that ends the run.
        name_clip: gives a clip's name for its number, for messages.

    Attributes:
        num_skipped: steps that were skipped since the start.
        skipped_last: whether the last step was skipped here; fairseq's own skips in fp16 do not
            count.
    """

    def __init__(self, max_skipped: int, name_clip: Callable[[int], str]) -> None:
        self._max_skipped = max_skipped
        self._name_clip = name_clip
        self._in_a_row = 0
        self._batches: List[Tuple[Tensor, Tensor]] = []  # (B,) clips, and the loss
        self.num_skipped = 0
        self.skipped_last = False

    def before_batch(self, optimizer: FairseqOptimizer) -> None:
        """In fp16, find out whether fairseq skipped the step before.

        A TrainingHealthError says that the gradients keep overflowing.
        """
        if not _take_overflow(optimizer):
            return
        clips, self._batches = self._describe(self._batches), []
        scaler = optimizer.scaler
        self.num_skipped += 1
        self._in_a_row += scaler.loss_scale < 1
        # At the next overflow fairseq would give up.
        at_the_end = scaler.loss_scale / scaler.scale_factor <= scaler.min_loss_scale
        if at_the_end or self._in_a_row >= self._max_skipped:
            raise TrainingHealthError(
                f"common.fp16: the gradients overflowed again and again, down to a loss scale of"
                f" {scaler.loss_scale:g} (common.min_loss_scale: {scaler.min_loss_scale:g};"
                f" task.max_skipped_updates: {self._max_skipped}), last with {clips}. Either the"
                " loss diverges: lower optimization.lr and go on from an earlier checkpoint with"
                " checkpoint.restore_file. Or half precision is too narrow for it:"
                " common.fp16=false common.bf16=true, if the GPU has it"
            )

    def after_batch(self, clips: Tensor, loss: Tensor) -> None:
        """Remember a batch until its update is done."""
        self._batches.append((clips, loss.detach()))

    def allows_step(self, optimizer: FairseqOptimizer, update_num: int) -> bool:
        """Whether the gradients are finite; if not, a warning names the clips.

        After too many times in a row it is a TrainingHealthError.
        """
        batches, self._batches = self._batches, []
        self.skipped_last = _take_overflow(optimizer)
        if not self.skipped_last:
            self._in_a_row = 0
            return True
        clips = self._describe(batches)
        self.num_skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= self._max_skipped:
            raise TrainingHealthError(
                f"task.max_skipped_updates: the gradients were not finite in {self._in_a_row}"
                f" updates in a row, until update {update_num + 1}, last with {clips}. Listen to"
                " these clips; if they are fine the loss diverges: lower optimization.lr and go on"
                " from an earlier checkpoint with checkpoint.restore_file"
            )
        logger.warning("skipped update %d: gradients not finite with %s", update_num + 1, clips)
        return False

    def _describe(self, batches: List[Tuple[Tensor, Tensor]]) -> str:
        """The clips of the batches whose loss is not finite, or of all batches if it always is."""
        culprits = [batch for batch in batches if not batch[1].isfinite().all()] or batches
        clips = [clip for numbers, _ in culprits for clip in numbers.tolist()]
        names = [self._name_clip(clip) for clip in clips[:NUM_NAMED_CLIPS]]
        if len(clips) > len(names):
            names.append(f"{len(clips) - len(names)} more")
        return f"the batch of {', '.join(names)}"


def _take_overflow(optimizer: Any) -> bool:
    """Whether the optimizer has met gradients that were not finite since the last call."""
    optimizer = getattr(optimizer, "fp32_optimizer", optimizer)  # inside fairseq's for fp16
    has_overflow = not getattr(optimizer, "has_finite_gradients", True)
    optimizer.has_finite_gradients = True
    return has_overflow
