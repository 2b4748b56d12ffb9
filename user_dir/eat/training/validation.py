"""What is measured of a validation set as a whole: it must not be a mean over batches."""

from typing import Callable

import torch
from fairseq.logging import metrics
from fairseq.logging.meters import Meter, safe_round
from torch import Tensor
from torch.nn import functional as F

# Of a direction's variance, in the mean square of the values: below it are rounding errors.
_ROUNDING = 1e-10


def validation_meter(name: str, make: Callable[[], Meter]) -> Meter:
    """The meter of that name of the validation that goes on, made at its first batch."""
    # The outermost aggregator is that of this validation. The one within it lasts for the whole
    # training and enters checkpoints, which can only be resumed with fairseq's own meters.
    meters = metrics.get_active_aggregators()[0]
    if name not in meters:
        meters.add_meter(name, make(), priority=20)
    return meters[name]


class MomentsMeter(Meter):
    """A statistic of all rows of a validation set, by the sum of their `moments`."""

    def __init__(self, statistic: Callable[[Tensor], float]) -> None:
        super().__init__()
        self._statistic = statistic
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self._sum = torch.zeros(())

    def update(self, moments: Tensor) -> None:
        """Add the moments of a batch, those of all workers."""
        self._sum = self._sum.to(moments) + moments

    @property
    def smoothed_value(self) -> float:
        """The statistic of all rows."""
        return safe_round(self._statistic(self._sum.cpu()), 2)


def moments(x: Tensor) -> Tensor:
    """(..., D) rows -> (D+1, D+1) float64: the products of all pairs of columns, summed over rows.

    The last column is 1: so this holds second moments, sums and the number of rows, and adds up
    over batches and workers.
    """
    rows = F.pad(x.flatten(0, -2).double(), (0, 1), value=1.0)
    return rows.T @ rows


def effective_rank(moments: Tensor) -> float:
    """How many directions the rows use: 1 to `largest_rank`; 0 if all are the same.

    It is that of Roy and Vetterli (2007), exp of the entropy of the normalised singular values, of
    the matrix (N, D) of all rows less their mean. RankMe (Garrido et al. 2023) applies it to
    representations. NaN if a value is not finite.
    """
    if not moments.isfinite().all():
        return float("nan")
    second, mean = moments[:-1, :-1] / moments[-1, -1], moments[-1, :-1] / moments[-1, -1]
    variances = torch.linalg.eigvalsh(second - mean.outer(mean))
    variances = variances[variances > _ROUNDING * second.diagonal().mean()]
    shares = variances.sqrt() / variances.sqrt().sum()
    return float(torch.special.entr(shares).sum().exp()) if len(shares) else 0.0


def largest_rank(moments: Tensor) -> float:
    """The most directions that so many rows can use: D, or one less than there are rows."""
    return min(len(moments) - 1.0, float(moments[-1, -1]) - 1)
