"""How gradients are computed: by autograd or by hand, with activations kept or computed again.

The networks show plain formulas. On a CPU, autograd's way through three of them costs time or
memory that a gradient written by hand saves; `by_hand` marks those formulas. `ExtremeCosines` is
what a gated probe reads. Without gradients, `pack_linears` saves time. Private functions of torch
are used in this file only.
"""

import functools
import math
import platform
from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple, Type, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable
from torch.utils.checkpoint import checkpoint as run_checkpointed

from eat.machine import one_torch_thread

# With more tokens than this, the L x L weights of `AttentionByHand` take too much memory.
MAX_TOKENS_WITH_WEIGHTS = 1024

_NORM_EPS = 1e-12  # as in F.normalize

Formula = Callable[..., Tensor]
Network = TypeVar("Network", bound=nn.Module)


def call_layer(layer: nn.Module, *args: Any, checkpoint: bool) -> Any:
    """Call a layer; with `checkpoint` keep only its inputs, and call it again for the gradient."""
    if checkpoint and torch.is_grad_enabled():
        return run_checkpointed(layer, *args, use_reentrant=False)
    return layer(*args)


def by_hand(
    function: Type[Function], max_tokens: Optional[int] = None
) -> Callable[[Formula], Formula]:
    """Decorate a formula for which `function` computes the same value, and its gradient by hand.

    A layer among the formula's arguments becomes its weight and bias; one that is not `is_plain`,
    or is frozen, is called by the formula. Inputs (N, L, ...) of more than `max_tokens` tokens are
    left to autograd.
    """

    def decorate(formula: Formula) -> Formula:
        @functools.wraps(formula)
        def compute(x: Tensor, *args: Any) -> Tensor:
            if writes_own_gradient(x) and (max_tokens is None or x.shape[1] <= max_tokens):
                layers = [arg for arg in args if isinstance(arg, nn.Module)]
                if all(is_plain(layer) and layer.weight.requires_grad for layer in layers):
                    return function.apply(x, *_without_layers(args))
            return formula(x, *args)

        return compute

    return decorate


def is_plain(layer: nn.Module) -> bool:
    """Whether to call this layer is to apply torch's formula to its weight and bias.

    False if somebody hooked, wrapped or replaced it (adapters, quantization, pruning,
    parametrizations, sharding), or its weights: then only a call does what they want.
    """
    return (
        type(layer) in (nn.Linear, nn.Conv2d)
        and type(layer.weight) is type(layer.bias) is nn.Parameter
        and not any(getattr(layer, hooks) for hooks in _HOOKS)
        and not any(getattr(nn.modules.module, f"_global{hooks}") for hooks in _HOOKS)
        and not any(name in vars(layer) for name in ("forward", "_compiled_call_impl"))
    )


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _without_layers(args: Iterable[Any]) -> Iterator[Any]:
    for arg in args:
        yield from (arg.weight, arg.bias) if isinstance(arg, nn.Module) else (arg,)


def writes_own_gradient(x: Tensor) -> bool:
    """Whether the gradient with respect to `x` is needed, and on a CPU.

    On a GPU fused kernels are faster. A compiler is too, and it needs the plain formula, as
    `torch.jit.trace` and `torch.func` do. Under `torch.autocast` the tensors of a formula differ in
    dtype, which only autograd keeps track of.
    """
    is_compiling = getattr(torch.compiler, "is_compiling", bool)  # torch >= 2.3
    is_traced = is_compiling() or torch.jit.is_tracing()
    needs_gradient = x.requires_grad and torch.is_grad_enabled()
    needs_formula = is_traced or torch._C._are_functorch_transforms_active() or _autocasts()
    return x.device.type == "cpu" and needs_gradient and not needs_formula


def _autocasts() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # torch < 2.4
        return torch.is_autocast_cpu_enabled()


@one_torch_thread()
def pack_linears(network: Network) -> Network:
    """Make a network on a CPU faster, for inference only; returns it.

    Its `is_plain` linear layers are replaced by `PackedLinear`, and those below it. It can no
    longer be trained, saved or moved to another device. Networks elsewhere are left alone.
    """
    for name, layer in network.named_children():
        if type(layer) is nn.Linear and is_plain(layer) and _can_pack(layer.weight):
            setattr(network, name, PackedLinear(layer))
        else:
            pack_linears(layer)
    return network


def _can_pack(weight: Tensor) -> bool:
    """Whether oneDNN is there and computes in this dtype. Other processors were not tried."""
    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


class PackedLinear(nn.Module):
    """A linear layer whose weight is in oneDNN's order of blocks from the start.

    `nn.Linear` brings the weight into such an order in each call. On an AVX-512 EPYC this layer
    takes 0.83-0.90 of its time with 505 tokens and 0.6-0.7 with 57, in float32 and bfloat16.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("bias", layer.bias.detach())
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self.bias, "none", [], "")


class AttentionByHand(Function):
    """Attention by plain matrix products.

    At 100 tokens on a CPU the gradient of torch's fused attention takes five times as long, and
    autograd's gradient of this formula twice as long, because of its copies. The backward pass
    computes the weights again: they are cheap, and keeping them in float32 would take as much
    memory as queries, keys and values together.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, num_heads: int, valid: Optional[Tensor]) -> Tensor:
        num_rows, num_tokens, _ = qkv.shape
        q, k, v = (x.flatten(0, 1) for x in _by_head(qkv, num_heads))  # (N*heads, L, D / heads)
        ctx.save_for_backward(q, k, v, valid)
        ctx.num_heads = num_heads
        x = torch.bmm(_attention_weights(q, k, valid), v).view(num_rows, num_heads, num_tokens, -1)
        return x.transpose(1, 2).reshape(num_rows, num_tokens, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None, None]:
        q, k, v, valid = ctx.saved_tensors
        num_rows, num_tokens, embed_dim = grad.shape
        grad = grad.reshape(num_rows, num_tokens, ctx.num_heads, -1).transpose(1, 2).flatten(0, 1)
        weights = _attention_weights(q, k, valid)
        grad_weights = torch.bmm(grad, v.transpose(1, 2))
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        scale = q.shape[-1] ** -0.5
        grad_qkv = grad.new_empty(num_rows, num_tokens, 3 * embed_dim)
        grads = (
            _scaled_bmm(grad_scores, k, scale),
            _scaled_bmm(grad_scores.transpose(1, 2), q, scale),
            torch.bmm(weights.transpose(1, 2), grad),
        )
        for target, source in zip(_by_head(grad_qkv, ctx.num_heads), grads, strict=True):
            target.copy_(source.view(target.shape))
        return grad_qkv, None, None


def _by_head(qkv: Tensor, num_heads: int) -> Tensor:
    """(N, L, 3D) -> (3, N, heads, L, D / heads), a view."""
    return qkv.view(*qkv.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)


def _attention_weights(q: Tensor, k: Tensor, valid: Optional[Tensor]) -> Tensor:
    """(N * heads, L, L), softmax of the scores; its sums are float32 in half precision too."""
    scores = _scaled_bmm(q, k.transpose(1, 2), q.shape[-1] ** -0.5)
    if valid is not None:
        rows = scores.view(valid.shape[0], -1, *scores.shape[1:])  # (N, heads, L, L)
        rows.masked_fill_(~valid[:, None, None, :], float("-inf"))
    return scores.softmax(dim=-1)


def _scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale * (a @ b) without another pass over the product."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


class GeluLinearByHand(Function):
    """GELU and a linear layer. Keeps only the input for the gradient, not the GELU's output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        columns = rows.t()
        if grad.dtype == torch.bfloat16:
            # oneDNN multiplies transposed bfloat16 matrices at half speed: copy the narrow one.
            columns = columns.contiguous()
        grad_weight = columns @ F.gelu(x).flatten(0, -2)
        grad_x = torch.ops.aten.gelu_backward(grad @ weight, x)
        return grad_x, grad_weight, rows.sum(dim=0)


class NormGeluByHand(Function):
    """LayerNorm without parameters, then GELU. Keeps only the input, not the norm's output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.eps = eps
        return F.gelu(F.layer_norm(x, x.shape[-1:], eps=eps))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            normed = F.layer_norm(x, x.shape[-1:], eps=ctx.eps)
        grad_normed = torch.ops.aten.gelu_backward(grad, normed.detach())
        return torch.autograd.grad(normed, x, grad_normed)[0], None


class ExtremeCosines(Function):
    """Cosines of mixed tokens to prototypes: lowest and highest of the patches, and that of CLS.

    Of all cosines only these have a gradient, a sum over few tokens. Lengths and their gradients
    come from the products of a token's layers with each other, which serve all mixtures.

    Shapes: R mixtures of Y layers, K prototypes; tokens (Y, B, N, D) are CLS, patches, and padding
    where `mask` (B, N) is False.
    """

    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, prototypes: Tensor, tokens: Tensor, mask: Tensor, chosen: Tensor
    ) -> Tensor:
        """(R, Y), (R, K, D) of length 1, ... -> (R, B, 3, K), 0 where not `chosen` (R, B)."""
        layers = tokens.flatten(1, 2)  # (Y, B * N, D)
        products = torch.bmm(layers.transpose(0, 1), layers.permute(1, 2, 0))  # (B * N, Y, Y)
        inner = (weights @ products.flatten(0, 1).T).view(len(weights), *products.shape[:2])
        norms = (inner * weights[:, None]).sum(-1).clamp(min=_NORM_EPS**2).sqrt()  # (R, B * N)
        mixed = (weights @ tokens.flatten(1)).view(len(weights), *tokens.shape[1:])
        values = tokens.new_zeros(*chosen.shape, 3, prototypes.shape[1])
        rows = torch.zeros_like(values, dtype=torch.long)
        first = torch.arange(len(mask), device=mask.device)[:, None] * mask.shape[1]
        has_padding = not mask.all()
        for number, clips in _not_empty(chosen):
            norm = norms[number].view_as(mask)[clips]
            cosines = mixed[number, clips].flatten(0, 1) @ prototypes[number].T
            cosines = cosines.view(*norm.shape, -1).div_(norm[..., None])
            lowest = highest = cosines[:, 1:]
            if has_padding:
                is_padding = ~mask[clips, 1:, None]
                lowest = lowest.masked_fill(is_padding, math.inf)
                highest = highest.masked_fill(is_padding, -math.inf)
            (low, at_low), (high, at_high) = lowest.min(dim=1), highest.max(dim=1)
            values[number, clips] = torch.stack([low, high, cosines[:, 0]], dim=1)
            places = torch.stack([at_low + 1, at_high + 1, torch.zeros_like(at_low)], dim=1)
            rows[number, clips] = places + first[clips, None]
        ctx.save_for_backward(weights, prototypes, tokens, chosen, values, rows, norms, inner)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        weights, prototypes, tokens, chosen, values, rows, norms, inner = ctx.saved_tensors
        grad_weights, grad_prototypes = torch.zeros_like(weights), torch.zeros_like(prototypes)
        for number, clips in _not_empty(chosen):
            row = rows[number, clips]
            scaled = grad[number, clips] / norms[number][row]
            by_prototype = [x.flatten(0, 1).T.contiguous() for x in (row, scaled)]
            sums = torch.stack([_sum_rows(layer.flatten(0, 1), *by_prototype) for layer in tokens])
            grad_prototypes[number] = torch.tensordot(weights[number], sums, 1)
            # A longer mixture does not change a cosine.
            along = torch.zeros_like(norms[number])
            along.index_add_(0, row.flatten(), (scaled * values[number, clips]).flatten())
            grad_weights[number] = sums.flatten(1) @ prototypes[number].flatten()
            grad_weights[number] -= (along / norms[number]) @ inner[number]
        return grad_weights, grad_prototypes, None, None, None


def _not_empty(chosen: Tensor) -> List[Tuple[int, Tensor]]:
    return [(number, clips) for number, clips in enumerate(chosen) if clips.any()]


def _sum_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """(K, D): for each of K lists, `rows` (K, M), the sum of these rows with `weights` (K, M)."""
    return F.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")
