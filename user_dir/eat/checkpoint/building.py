"""Networks from checkpoints: sizes are checked first, and every weight must match."""

import logging
from dataclasses import replace
from typing import Any, Dict, Iterator, Mapping, Optional

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eat.nn import Classifier, Encoder

from .checkpoint import Checkpoint, CheckpointError, Weights, naming

logger = logging.getLogger(__name__)

# A network of this many numbers is always built, to list what the file lacks; EAT-large has 3e8.
_ALWAYS_BUILT = 1 << 29
# A block counts for at least this many numbers, as its Python objects take time and memory too.
_LEAST_OF_A_BLOCK = 1 << 19


def build_encoder(checkpoint: Checkpoint, weights: Optional[Weights] = None) -> Encoder:
    """The encoder of a checkpoint, with the student's weights unless others are given."""
    with naming(checkpoint.path):
        encoder = _empty_encoder(checkpoint)
        load_weights(encoder, checkpoint.encoder if weights is None else weights, checkpoint.path)
    return encoder


def build_classifier(checkpoint: Checkpoint) -> Classifier:
    """The classifier of a fine-tuned checkpoint; a CheckpointError for any other checkpoint."""
    with naming(checkpoint.path):
        if checkpoint.classifier is None or checkpoint.classifier_config is None:
            raise CheckpointError(
                f"found a {checkpoint.kind} checkpoint without a classifier, expected a"
                " fine-tuned one"
            )
        encoder = _empty_encoder(checkpoint)
        classifier = Classifier(
            checkpoint.classifier_config, encoder, checkpoint.labels, checkpoint.activation
        )
        if checkpoint.log_mel is not None:
            classifier.log_mel = checkpoint.log_mel
        weights = {f"encoder.{key}": value for key, value in checkpoint.encoder.items()}
        load_weights(classifier, {**weights, **checkpoint.classifier}, checkpoint.path)
    return classifier


def _empty_encoder(checkpoint: Checkpoint) -> Encoder:
    _check_size(checkpoint)
    with _WithoutRandomWeights():
        encoder = Encoder(checkpoint.encoder_config)
    if checkpoint.log_mel is not None:
        encoder.log_mel = replace(checkpoint.log_mel, target_length=None)
        return encoder
    logger.warning(
        "%s tells neither mean nor std of its front end: AudioSet's are taken, %g and %g; others"
        " are given with mean= and std= (on the command line --mean and --std)",
        *(checkpoint.path, encoder.log_mel.mean, encoder.log_mel.std),
    )
    return encoder


class _WithoutRandomWeights(TorchFunctionMode):
    """Leaves layers uninitialised: random weights take longer than to load those that follow."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Optional[Dict[str, Any]] = None
    ) -> Any:
        if function in (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_):
            return args[0] if args else (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))


def _check_size(checkpoint: Checkpoint) -> None:
    """Refuse sizes that need far more memory than the file, before a network of them is built."""
    sizes = checkpoint.encoder_config
    head = checkpoint.classifier_config
    per_block = max(_LEAST_OF_A_BLOCK, sizes.embed_dim**2 * max(1, sizes.mlp_ratio))
    rows = sizes.num_position_rows * sizes.num_columns + sizes.patch_size**2
    rows += 0 if head is None else head.num_classes
    needed = per_block * sizes.depth + rows * sizes.embed_dim
    weights = {**checkpoint.encoder, **(checkpoint.classifier or {})}
    found = sum(value.untyped_storage().nbytes() for value in weights.values())
    if not needed <= max(found, _ALWAYS_BUILT):  # nor NaN
        listed = ", ".join(f"{key}={value}" for key, value in checkpoint.settings().items())
        raise CheckpointError(
            f"found {listed} in its configuration, expected sizes that fit its weights"
            f" ({found} bytes)"
        )


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Load weights under the module's own names; a CheckpointError lists all that do not match."""
    with naming(path):
        problems = "; ".join(_mismatches(module.state_dict(), weights))
        if problems:
            raise CheckpointError(f"the {type(module).__name__.lower()} does not match: {problems}")
        module.load_state_dict(weights)


def _mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterator[str]:
    shared = expected.keys() & found.keys()
    groups = {
        "missing": expected.keys() - found.keys(),
        "unexpected": found.keys() - expected.keys(),
        "of another shape": (
            f"{key} (found {tuple(found[key].shape)}, expected {tuple(expected[key].shape)})"
            for key in shared
            if found[key].shape != expected[key].shape
        ),
        # The sum takes a tenth of the time of looking at each; float8 has no sum, hence float32.
        "with NaN or infinite values": (
            key for key in shared if not found[key].float().sum().isfinite()
        ),
    }
    for what, keys in groups.items():
        listed = sorted(keys)
        if listed:
            yield f"{len(listed)} {what}: {', '.join(listed)}"
