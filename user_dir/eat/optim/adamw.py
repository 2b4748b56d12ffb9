"""The optimizer `eat_adamw`: one torch AdamW with learning-rate scales and decay per group."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch import Tensor, nn

from eat.settings import setting


@dataclass
class AdamWConfig(FairseqDataclass):
    """AdamW; the defaults are the pre-training recipe's."""

    adam_betas: List[float] = setting("beta1 and beta2 (paper: 0.9, 0.95)", [0.9, 0.95])
    adam_eps: float = setting("epsilon (released code: 1e-8)", 1e-8)
    weight_decay: float = setting("decoupled weight decay (paper: 0.05)", 0.05)
    decay_1d: bool = setting(
        "also decay biases and LayerNorm weights, as the released code does", True
    )
    min_lr: float = setting(
        "the scheduler's min_lr, which holds for every group of parameters: a group whose peak is"
        " lower stays at its peak, as in the released code",
        0.0,
    )
    lr: List[float] = II("optimization.lr")
    fp16: bool = II("common.fp16")


def set_lr_scale(parameter: nn.Parameter, scale: float) -> None:
    """Train a parameter at `scale` times the learning rate.

    `param_group` is the one attribute that every fairseq copies to the float32 masters.
    """
    parameter.param_group = scale


@register_optimizer("eat_adamw", dataclass=AdamWConfig)
class EatAdamW(FairseqOptimizer):
    """torch's AdamW: fused where this torch can, else over lists of tensors.

    What multiplies the gradients, to average and to clip them, waits for the step: a fused one
    does that on its way, so that no pass over all gradients is made for it.
    """

    def __init__(self, cfg: AdamWConfig, params: Iterable[nn.Parameter]) -> None:
        super().__init__(cfg)
        _check(cfg)
        params = list(params)
        self.has_finite_gradients = True
        self._has_scaler = cfg.fp16
        self._factor: Union[float, Tensor] = 1.0  # of the gradients, for the next step
        is_fused = _can_fuse(params)
        self._implementation = {"fused": is_fused, "foreach": not is_fused}
        self._base_lr = self._peak_lr = float(cfg.lr[0])
        self._min_lr = min(cfg.min_lr, self._peak_lr)
        self._optimizer = torch.optim.AdamW(
            _groups(cfg, params),
            lr=self._base_lr,
            betas=(cfg.adam_betas[0], cfg.adam_betas[1]),
            eps=cfg.adam_eps,
            **self._implementation,
        )

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        """Clip, and note in `has_finite_gradients` whether the norm is finite.

        fairseq would end the run at a norm that is not; the task skips the step instead. With fp16
        fairseq's loss scaler must see it.
        """
        norm = self._factor * super().clip_grad_norm(0, aggregate_norm_fn)
        if max_norm > 0:
            self.multiply_grads((max_norm / (norm + 1e-6)).clamp(max=1))
        self.has_finite_gradients = bool(norm.isfinite())
        return norm if self.has_finite_gradients or self._has_scaler else torch.zeros_like(norm)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        super().zero_grad()
        self._factor = 1.0

    def multiply_grads(self, c: Union[float, Tensor]) -> None:
        """Have the next step multiply the gradients."""
        # Of several workers, fairseq sums the sample sizes in float64.
        self._factor = self._factor * (c.float() if isinstance(c, Tensor) else c)

    def step(self, closure: Any = None, scale: float = 1.0, groups: Any = None) -> None:
        """Multiply the gradients and step."""
        factor, self._factor = self._factor / scale, 1.0
        if self._implementation["fused"]:
            device = self.param_groups[0]["params"][0].device
            # torch divides by it in the step, as its own GradScaler asks it to.
            self.optimizer.grad_scale = torch.ones((), device=device) / factor
        else:
            super().multiply_grads(factor)
        self.optimizer.step(closure)

    @property
    def optimizer_config(self) -> Dict[str, Any]:
        """Settings that may differ from the checkpoint on resuming; read by fairseq."""
        return dict(self._implementation)

    def get_lr(self) -> float:
        """The learning rate before the groups' scales."""
        return self._base_lr

    def set_lr(self, lr: float) -> None:
        """Set every group to the point of its own schedule at which `lr` is on the base one.

        The base schedule runs between `min_lr` and the peak; a group's between `min_lr` and its
        scale times the peak.
        """
        self._base_lr = lr
        for group in self.param_groups:
            group["lr"] = self._scaled(lr, group["lr_scale"])

    def _scaled(self, lr: float, scale: float) -> float:
        if scale == 1 or self._min_lr == 0:
            return lr * scale
        peak = self._peak_lr * scale
        low = min(self._min_lr, peak)
        span = self._peak_lr - self._min_lr
        progress = (lr - self._min_lr) / span if span > 0 else 0.0
        return low + progress * (peak - low)

    def load_state_dict(
        self, state_dict: Dict[str, Any], optimizer_overrides: Optional[Dict[str, Any]] = None
    ) -> None:
        """Resume; this device, not the checkpoint's, decides how the step is computed."""
        super().load_state_dict(state_dict, optimizer_overrides)
        for group in self.param_groups:
            group.update(self._implementation)


def _check(cfg: AdamWConfig) -> None:
    if len(cfg.adam_betas) != 2 or not all(0 <= beta < 1 for beta in cfg.adam_betas):
        raise ValueError(
            f"optimizer.adam_betas: found {cfg.adam_betas}, expected two numbers from 0 to below 1"
        )
    for key in ("adam_eps", "weight_decay"):
        if not 0 <= getattr(cfg, key) < math.inf:
            raise ValueError(f"optimizer.{key}: found {getattr(cfg, key)}, expected 0 or more")


def _can_fuse(params: List[nn.Parameter]) -> bool:
    """Whether torch has a fused AdamW for these: on CUDA always, on a CPU from 2.4 on."""
    try:
        torch.optim.AdamW(params, fused=True)
    except RuntimeError:
        return False
    return True


def _groups(cfg: AdamWConfig, params: Iterable[nn.Parameter]) -> List[Dict[str, Any]]:
    """Parameters that share learning-rate scale and weight decay, in order of appearance."""
    members: Dict[Tuple[float, float], List[nn.Parameter]] = defaultdict(list)
    for parameter in params:
        decay = cfg.weight_decay if cfg.decay_1d or parameter.ndim > 1 else 0.0
        members[getattr(parameter, "param_group", 1.0), decay].append(parameter)
    return [
        {"params": group, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay), group in members.items()
    ]
