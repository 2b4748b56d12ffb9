"""Exact weights of a model in half precision: checkpoints hold them, and runs resume from them.

With `common.fp16` or `bf16` the optimizer steps float32 copies of the weights, the masters, and
rounds them for the network. fairseq saves the rounded ones, as float32. Here a checkpoint holds the
masters in their place: it is as large, and whatever reads it gets the exact weights.
"""

from typing import Any, Callable, Dict, Sequence

from torch import nn


def keep_masters(
    build: Callable[..., Any], args: Any, params: Sequence[nn.Parameter], flatten: bool = True
) -> Any:
    """fairseq's function that makes the masters; each parameter then knows its own.

    A parameter that was loaded since `hold_masters` gets the master that was in the checkpoint.
    """
    masters = build(args, params, flatten)
    if not flatten:
        for parameter, master in zip(params, masters, strict=True):
            loaded = vars(parameter).pop("loaded", None)
            if loaded is not None:
                master.data.copy_(loaded)
            parameter.master = master
    return masters


def drop_gradients(zero_grad: Callable[..., None], optimizer: Any) -> None:
    """fairseq's function that begins an update, without the gradients and factor of the last."""
    for master in () if optimizer.has_flat_params else optimizer.fp32_params:
        master.grad = None
    zero_grad(optimizer)
    if optimizer.scaler is None:
        optimizer._multiply_factor = 1.0


def hold_masters(model: nn.Module) -> None:
    """Make a model's `state_dict` hold the masters, and keep those that are loaded."""
    model.register_state_dict_post_hook(_store)
    model.register_load_state_dict_pre_hook(_load)


def _store(model: nn.Module, state: Dict[str, Any], prefix: str, _: Any) -> None:
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "master"):
            state[f"{prefix}{name}"] = parameter.master.detach()


def _load(model: nn.Module, state: Dict[str, Any], prefix: str, *_: Any) -> None:
    for name, parameter in model.named_parameters():
        value = state.get(f"{prefix}{name}")
        if parameter.requires_grad and value is not None and value.dtype != parameter.dtype:
            parameter.loaded = value


# Of fairseq's loss scaler, besides the scale that it stores: when it grows again.
_COUNTERS = ("_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale")


def store_counters(state_dict: Callable[..., Any], optimizer: Any) -> Dict[str, Any]:
    """fairseq's function for the optimizer's state, with the counters of the loss scaler."""
    state, scaler = state_dict(optimizer), optimizer.scaler
    if scaler is not None:
        state["loss_scaler"] = {name: getattr(scaler, name) for name in _COUNTERS}
    return state


def load_counters(
    load: Callable[..., None], optimizer: Any, state_dict: Any, optimizer_overrides: Any = None
) -> None:
    """fairseq's function that loads what `store_counters` adds to."""
    load(optimizer, state_dict, optimizer_overrides)
    if optimizer.scaler is not None:
        vars(optimizer.scaler).update(state_dict.get("loss_scaler", {}))
