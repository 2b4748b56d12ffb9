"""The teacher: a moving average of the student's encoder, and the targets that it makes."""

import copy
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, Mapping, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eat.settings import setting

from .encoder import Encoder

_NORM_EPS = 1e-5  # of both normalisations of the targets
_TENSORS_AT_ONCE = 16  # in a step: few calls on a GPU, and few enough for the cache of a CPU


@dataclass
class TeacherConfig:
    """How the teacher follows the student and which layers make its targets."""

    ema_decay: float = setting("EMA decay at the first update (released code: 0.9998)", 0.9998)
    ema_end_decay: float = setting("EMA decay after annealing (released code: 0.99999)", 0.99999)
    ema_anneal_updates: int = setting(
        "updates of linear annealing (released: base 100000, large 150000)", 100_000
    )
    average_top_k_layers: int = setting(
        "last blocks averaged in the target (all: base 12, large 24)", 12
    )
    utterance_top_k_layers: int = setting(
        "last blocks averaged in the utterance loss's target; 0: average_top_k_layers (SSLAM: 1)", 0
    )


def ema_decay(config: TeacherConfig, num_updates: int) -> float:
    """EMA decay used after the `num_updates`-th update, counted from 1."""
    progress = min(1.0, num_updates / max(1, config.ema_anneal_updates))
    return config.ema_end_decay - (config.ema_end_decay - config.ema_decay) * (1 - progress)


class Teacher(nn.Module):
    """EMA copy of the student's encoder that sees whole clips and makes the targets.

    The average is kept in float32 even when the model is cast to half precision, whose resolution
    is far coarser than a step of the EMA. `state_dict` holds the float32 values.
    """

    def __init__(self, config: TeacherConfig, student: Encoder) -> None:
        super().__init__()
        for key in ("ema_decay", "ema_end_decay"):
            if not 0 <= getattr(config, key) <= 1:
                raise ValueError(f"{key}: found {getattr(config, key)}, expected 0 to 1")
        depth = len(student.blocks)
        if not 1 <= config.average_top_k_layers <= depth:
            raise ValueError(
                f"average_top_k_layers: found {config.average_top_k_layers},"
                f" expected 1 to depth {depth}"
            )
        if not 0 <= config.utterance_top_k_layers <= config.average_top_k_layers:
            raise ValueError(
                f"utterance_top_k_layers: found {config.utterance_top_k_layers}, expected 0 to"
                f" average_top_k_layers {config.average_top_k_layers}"
            )
        self.config = config
        self.encoder = copy.deepcopy(student).requires_grad_(False)
        # float32 values by name while `encoder` itself is in half precision, else None.
        self._masters: Optional[Dict[str, Tensor]] = None
        self._register_state_dict_hook(_store_masters)

    def train(self, mode: bool = True) -> "Teacher":
        """The teacher is always in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, source: Tensor, ids: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Targets of every patch and of the clip: (B, 1, T, F) -> (B, L, D), (B, D) float32.

        With `ids` (N,) int64 the teacher sees these patches alone, and L is N. The target of a clip
        is the mean over its patches, which is not normalised again.
        """
        patches = self.encoder.embed(source)
        if ids is not None:
            patches = patches[:, ids]
        first = len(self.encoder.blocks) - self.config.average_top_k_layers
        layers = islice(self.encoder.run_blocks(patches), first, None)
        last: Deque[Tensor] = deque(maxlen=self.config.utterance_top_k_layers)
        targets = average_layers(_remember((mlp_output for _, mlp_output in layers), last))
        return targets, (average_layers(last) if last else targets).mean(dim=1)

    @torch.no_grad()
    def step(self, student: Encoder, num_updates: int) -> None:
        """Move towards the student after its `num_updates`-th update."""
        average = get_ema_multi_avg_fn(ema_decay(self.config, num_updates))
        parameters = list(self.encoder.parameters())
        averages = list(self._masters.values()) if self._masters else parameters
        values = list(student.parameters())
        for start in range(0, len(values), _TENSORS_AT_ONCE):
            some = slice(start, start + _TENSORS_AT_ONCE)
            average(averages[some], [p.float() for p in values[some]], None)
        self._copy_masters()

    @torch.no_grad()
    def copy_from(self, student: Encoder) -> None:
        """Start again from the student's weights."""
        self.encoder.load_state_dict(student.state_dict())
        if self._masters is not None:
            self._masters = {n: p.detach().float() for n, p in student.named_parameters()}

    def _copy_masters(self) -> None:
        """Round the float32 values, if there are any, to the encoder's half precision."""
        if self._masters is not None:
            for p, master in zip(self.encoder.parameters(), self._masters.values(), strict=True):
                p.copy_(master)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Teacher":
        """Keep the float32 values when the model is cast or moved."""
        masters = self._masters or {
            name: p.detach().clone() for name, p in self.encoder.named_parameters()
        }
        super()._apply(fn, recurse)
        parameter = next(self.encoder.parameters())
        self._masters = {name: m.to(parameter.device) for name, m in masters.items()}
        self._copy_masters()
        if parameter.dtype == torch.float32:
            self._masters = None
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name, master in (self._masters or {}).items():
            value = state_dict.get(f"{prefix}encoder.{name}")
            if value is not None and value.shape == master.shape:
                master.copy_(value)


def _store_masters(teacher: Teacher, state: Dict[str, Any], prefix: str, _: Any) -> None:
    for name, master in (teacher._masters or {}).items():
        state[f"{prefix}encoder.{name}"] = master


def _remember(outputs: Iterable[Tensor], last: Deque[Tensor]) -> Iterator[Tensor]:
    for output in outputs:
        last.append(output)
        yield output


def average_layers(mlp_outputs: Iterable[Tensor]) -> Tensor:
    """Make the target from the teacher's layers (released code; the paper leaves this open).

    Each layer's channels are normalised over the tokens of the clip, layers are averaged, and
    each token is normalised over its channels, all in float32 and without parameters: (B, 1+L, D)
    per layer, CLS first, only one held at a time -> (B, L, D) float32.
    """
    total: Any = 0
    for number, mlp_output in enumerate(mlp_outputs, start=1):
        total = total + _normalise_over_tokens(mlp_output[:, 1:].float())
    return F.layer_norm(total / number, total.shape[-1:], eps=_NORM_EPS)


def _normalise_over_tokens(x: Tensor) -> Tensor:
    """(B, L, D) -> (B, L, D) with zero mean and unit variance over L, per clip and channel."""
    return F.instance_norm(x.transpose(1, 2), eps=_NORM_EPS).transpose(1, 2)
