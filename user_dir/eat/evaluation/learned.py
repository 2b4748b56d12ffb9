"""Probes that read all tokens of a frozen encoder, and learn where in it the information is.

They are trained for all folds at once, so that tokens are read once for all: a parameter has the
folds in front, and a clip counts for the folds that learn from it. Shapes: R folds, Y layers, C
classes; tokens are (Y, B, N, D), of each clip CLS and then its patches, N with the padding, where
`mask` (B, N) is False; what comes of a clip counts for the folds for which it is `chosen` (R, B).
"""

import math
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from eat.features.pipeline import make_batches
from eat.nn.gradients import ExtremeCosines

from .tokens import TokenStore

_NUM_QUERIES = 4
_STD_EPS = 1e-6  # of features of unit tokens, which are about 1 / sqrt(D)

_BATCH_SIZE = 48  # as in BAT
_MAX_VALUES = 1 << 24  # of tokens in one pass: 64 MiB
# About as many updates, in as many epochs at least and at most. They end after so many epochs, or a
# quarter of all, without a lower loss of the clips that are held out.
_NUM_UPDATES, _EPOCHS, _PATIENCE, _WARMUP_RATIO = 1000, (20, 120), 5, 0.1


def num_prototypes(num_classes: int) -> int:
    """K of a gated probe: 10 per class, from 64 to 10,000.

    BAT has 10,000 for AudioSet's 527 classes, where more bring little, and time grows with them. At
    least 64, as the patches of two classes are of many kinds, too.
    """
    return min(max(10 * num_classes, 64), 10_000)


class AttentiveProbe(nn.Module):
    """Learned queries attend over all tokens of all layers; a linear head gets what they read.

    The tokens are standardised by `mean` and `std` (R, Y, D) of the means of clips. The
    score of a token is its product with the query, plus what the query learns for its layer and for
    being CLS. A query of zeros reads the mean of all tokens.
    """

    parts = ("cls", "patches")
    # On the clips of the comment below 0.49 with these, 0.28 with 1e-3, a decay of 0.01 and a third
    # of the updates. A regression on the mean of the patches has 0.42.
    learning_rate, weight_decay = 3e-3, 0.3

    def __init__(self, mean: Tensor, std: Tensor, num_classes: int) -> None:
        super().__init__()
        num_folds, num_layers, width = mean.shape
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.queries = nn.Parameter(torch.randn(num_folds, _NUM_QUERIES, width) / math.sqrt(width))
        self.biases = nn.Parameter(torch.zeros(num_folds, _NUM_QUERIES, num_layers, 2))
        self.head = nn.Parameter(torch.zeros(num_folds, num_classes, _NUM_QUERIES * width))
        self.offset = nn.Parameter(torch.zeros(num_folds, num_classes))

    def attend(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Weights (R, B, Q, Y, N) of all tokens, whose sum is 1 for each query."""
        scale = self.std[:, None] * math.sqrt(tokens.shape[-1])
        queries = self.queries[:, :, None] / scale  # (R, Q, Y, D)
        scores = tokens.flatten(1, 2) @ queries.permute(2, 3, 0, 1).flatten(2)
        scores = scores.view(*tokens.shape[:3], *queries.shape[:2]).permute(3, 1, 4, 0, 2)
        shift = self.biases - (queries * self.mean[:, None]).sum(-1, keepdim=True)
        cls_shift, shift = shift.split(1, dim=-1)
        shift = torch.cat([cls_shift, shift.expand(*shift.shape[:-1], mask.shape[1] - 1)], dim=-1)
        scores = (scores + shift[:, None]).masked_fill(~mask[:, None, None], -math.inf)
        return scores.flatten(-2).softmax(-1).view_as(scores)

    def read(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """What the queries read, (R, B, Q, D)."""
        by_layer = weights.permute(3, 1, 0, 2, 4)  # (Y, B, R, Q, N)
        found = (by_layer.flatten(2, 3) @ tokens).unflatten(2, by_layer.shape[2:4])
        mean, std = self.mean[:, None, None], self.std[:, None, None]
        found = found.permute(2, 1, 3, 0, 4) - weights.sum(-1, keepdim=True) * mean
        return (found / std).sum(dim=3)

    def forward(self, tokens: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """Logits (R, B, C), of all, as a product for all folds costs no more."""
        found = self.read(tokens, self.attend(tokens, mask)).flatten(2)
        return torch.baddbmm(self.offset[:, None], found, self.head.mT)

    def explain(self, tokens: Tensor, mask: Tensor, chosen: Tensor) -> Tuple[Tensor, Tensor]:
        """Of each clip, how much attention the layers (R, B, Y) and `parts` (R, B, 2) get."""
        weights = self.attend(tokens, mask).mean(dim=2)
        cls_share = weights[..., 0].sum(-1)
        return weights.sum(-1), torch.stack([cls_share, 1 - cls_share], dim=-1)

    @staticmethod
    def share_of_parts(explained: Tensor) -> Tensor:
        """The mean over clips, (2,), of what `explain` says of one fold."""
        return explained.mean(dim=0)


class GatedProbe(nn.Module):
    """Convex gated probing: prototypes over a convex mixture of all layers (BAT, 2602.16305).

    The cosine similarities of the mixed tokens to K prototypes are pooled over the patches by
    minimum and maximum; a linear head gets these and those of CLS.
    """

    parts = ("min", "max", "cls")
    # On 1,000 synthetic clips of 10 classes, 3 folds: accuracy 0.63 with these; 0.38 with twice the
    # rate and half the updates; 0.17 with 3e-2, a decay of 0.01 and a third of the updates.
    learning_rate, weight_decay = 1e-2, 0.1

    def __init__(self, num_folds: int, num_layers: int, width: int, num_classes: int) -> None:
        super().__init__()
        number = num_prototypes(num_classes)
        self.gates = nn.Parameter(torch.zeros(num_folds, num_layers))
        self.prototypes = nn.Parameter(torch.randn(num_folds, number, width) / math.sqrt(width))
        self.head = nn.Parameter(torch.zeros(num_folds, num_classes, 3 * number))
        self.offset = nn.Parameter(torch.zeros(num_folds, num_classes))

    def read(self, tokens: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """Similarities to the prototypes, (R, B, 3, K): minimum and maximum of patches, CLS."""
        prototypes = F.normalize(self.prototypes, dim=-1)
        return ExtremeCosines.apply(self.gates.softmax(-1), prototypes, tokens, mask, chosen)

    def forward(self, tokens: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """Logits (R, B, C); cosines are about 1 / sqrt(D), on which a head would learn slowly."""
        found = self.read(tokens, mask, chosen).flatten(2) * math.sqrt(tokens.shape[-1])
        return torch.baddbmm(self.offset[:, None], found, self.head.mT)

    def explain(self, tokens: Tensor, mask: Tensor, chosen: Tensor) -> Tuple[Tensor, Tensor]:
        """The weights of the layers (R, B, Y), and what `parts` add to the logits (R, B, 3, C)."""
        found = self.read(tokens, mask, chosen)
        added = torch.einsum("rbpk,rcpk->rbpc", found, self.head.unflatten(2, found.shape[2:]))
        return self.gates.softmax(-1)[:, None].expand(-1, len(mask), -1), added

    @staticmethod
    def share_of_parts(explained: Tensor) -> Tensor:
        """By how much each part makes the logits of one fold's clips differ, (3,)."""
        variances = explained.var(dim=0, correction=0).sum(dim=-1)
        return variances / variances.sum().clamp(min=1e-12)


class LabelledTokens(NamedTuple):
    """Clips with tokens and labels, and which of them each fold learns from, stops by and tests."""

    store: TokenStore
    clips: np.ndarray  # (N,) what the store calls them
    layers: Sequence[Union[int, str]]
    targets: Tensor  # (N, C) float32
    is_single: bool  # exactly one label each
    train: Tensor  # (R, N) bool, and so on
    stop: Tensor
    test: Tensor

    def batches(self, chosen: np.ndarray) -> Iterator[Tuple[Tensor, Tensor, Tensor]]:
        """Indices (B,), tokens and mask of some clips (indices), those of like lengths together."""
        most = _MAX_VALUES // (len(self.layers) * self.store.shape(self.clips[0])[2])
        length = lambda index: self.store.shape(self.clips[index])[1]  # noqa: E731
        for batch in make_batches(chosen.tolist(), length, _BATCH_SIZE, most):
            tokens, mask = self.store.read(self.clips[batch].tolist(), self.layers)
            device = self.targets.device
            yield torch.tensor(batch), tokens.to(device).float(), mask.to(device)

    def losses(self, logits: Tensor, indices: Tensor) -> Tensor:
        """The loss (R, B) of each clip: cross entropy, or the classes' mean binary one."""
        targets = self.targets[indices].expand_as(logits)
        if self.is_single:
            return -(logits.log_softmax(-1) * targets).sum(-1)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)


def measure_means(data: LabelledTokens) -> Tuple[Tensor, Tensor]:
    """Mean and standard deviation (R, Y, D), over what each fold learns from, of clips' means."""
    sums, squares = 0, 0
    for indices, tokens, mask in data.batches(np.flatnonzero(data.train.any(0).cpu())):
        means = tokens.sum(2) / mask.sum(1)[:, None]  # padding is 0
        chosen = data.train[:, indices].float()
        sums = sums + torch.einsum("ybd,rb->ryd", means, chosen)
        squares = squares + torch.einsum("ybd,rb->ryd", means.square(), chosen)
    counts = data.train.sum(1)[:, None, None]
    mean = sums / counts
    return mean, (squares / counts - mean.square()).clamp(min=_STD_EPS**2).sqrt()


def train_probe(probe: nn.Module, data: LabelledTokens, seed: int) -> None:
    """Train by AdamW, and leave each fold with the parameters whose loss on `stop` was lowest."""
    generator = np.random.default_rng(seed)
    learnt = np.flatnonzero(data.train.any(0).cpu())
    num_batches = math.ceil(len(learnt) / _BATCH_SIZE)
    num_epochs = int(np.clip(math.ceil(_NUM_UPDATES / num_batches), *_EPOCHS))
    settings = {"lr": probe.learning_rate, "weight_decay": probe.weight_decay}
    optimizer = torch.optim.AdamW(probe.parameters(), **settings)
    total, warmup = num_epochs * num_batches, _WARMUP_RATIO * num_epochs * num_batches
    rate = lambda n: min((n + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * n / total))  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    best = {name: value.detach().clone() for name, value in probe.named_parameters()}
    lowest, since = torch.full((len(data.train),), math.inf), torch.zeros(len(data.train))
    for _ in range(num_epochs):
        for batch in np.array_split(generator.permutation(learnt), num_batches):
            update(probe, data, batch, optimizer)
            schedule.step()
        losses = stop_losses(probe, data)
        is_better = losses < lowest
        since = torch.where(is_better, 0, since + 1)
        lowest = torch.where(is_better, losses, lowest)
        for name, value in probe.named_parameters():
            best[name][is_better] = value.detach()[is_better]
        if (since >= max(_PATIENCE, num_epochs // 4)).all():
            break
    probe.load_state_dict(best, strict=False)  # buffers are as they were


def update(
    probe: nn.Module, data: LabelledTokens, batch: np.ndarray, optimizer: torch.optim.Optimizer
) -> None:
    """One step on the mean loss of a batch (indices) of clips, in parts that fit into memory."""
    optimizer.zero_grad()
    counts = data.train[:, batch].sum(1, keepdim=True).clamp(min=1)
    for indices, tokens, mask in data.batches(batch):
        chosen = data.train[:, indices]
        losses = data.losses(probe(tokens, mask, chosen), indices) * chosen / counts
        losses.sum().backward()
    optimizer.step()


@torch.no_grad()
def stop_losses(probe: nn.Module, data: LabelledTokens) -> Tensor:
    """The mean loss (R,) of each fold on the clips that it stops by."""
    losses = []
    for fold, chosen in enumerate(data.stop.split(1)):
        state = {name: value[fold : fold + 1] for name, value in probe.state_dict().items()}
        total = 0.0
        for indices, tokens, mask in data.batches(np.flatnonzero(chosen[0].cpu())):
            logits = functional_call(probe, state, (tokens, mask, chosen[:, indices]))
            total += float(data.losses(logits, indices).sum())
        losses.append(total / int(chosen.sum()))
    return torch.tensor(losses)


class Findings(NamedTuple):
    """What trained probes say of the clips that their folds test."""

    scores: List[np.ndarray]  # of each fold, (M, C) probabilities
    layers: Dict[str, float]  # the weight of each layer, mean over folds
    parts: Dict[str, float]  # the share of each of the probe's `parts`, likewise


@torch.no_grad()
def apply_probe(probe: nn.Module, data: LabelledTokens) -> Findings:
    """Score the tested clips, and tell where the scores come from."""
    batches = []
    for indices, tokens, mask in data.batches(np.flatnonzero(data.test.any(0).cpu())):
        inputs = tokens, mask, data.test[:, indices]
        batches.append((indices, probe(*inputs), *probe.explain(*inputs)))
    order, *outputs = zip(*batches, strict=True)
    tested = torch.cat(order).argsort()
    logits, weights, explained = (torch.cat(some, dim=1)[:, tested] for some in outputs)
    activate = torch.softmax if data.is_single else lambda x, _: x.sigmoid()
    chosen = data.test[:, data.test.any(0)]  # (R, M)
    scores = [activate(logits[n, c], -1).cpu().numpy() for n, c in enumerate(chosen)]
    layers = torch.stack([weights[n, c].mean(0) for n, c in enumerate(chosen)]).mean(0)
    parts = [probe.share_of_parts(explained[n, c]) for n, c in enumerate(chosen)]
    names = map(str, data.layers)
    return Findings(
        scores,
        dict(zip(names, layers.tolist(), strict=True)),
        dict(zip(probe.parts, torch.stack(parts).mean(0).tolist(), strict=True)),
    )


def run_probe(method: str, data: LabelledTokens, seed: int) -> Findings:
    """Train and apply the probes of all folds, "attentive" or "gated"."""
    num_classes, width = data.targets.shape[1], data.store.shape(data.clips[0])[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if method == "attentive":
            probe = AttentiveProbe(*measure_means(data), num_classes)
        else:
            probe = GatedProbe(len(data.train), len(data.layers), width, num_classes)
    probe.to(data.targets.device)
    train_probe(probe, data, seed)
    return apply_probe(probe, data)
