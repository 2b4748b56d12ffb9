"""What every checkpoint layout is translated to, and the one strict way to load it."""

from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional

from torch import Tensor, nn

from eat.audio import LogMel
from eat.nn import ClassifierConfig, DecoderConfig, EncoderConfig, MaskingConfig, TeacherConfig

Weights = Dict[str, Tensor]


class CheckpointError(ValueError):
    """A file that is no checkpoint of a known layout, or not a complete one."""


@dataclass
class Checkpoint:
    """The parts of one checkpoint under the names of our modules.

    Attributes:
        path: the file, for messages.
        kind: "pre-training" or "fine-tuned".
        encoder_config: sizes of the encoder.
        encoder: the student's weights, names of `Encoder`.
        decoder_config, decoder: of `Decoder`; None when the file has none.
        teacher_config, teacher: the teacher's weights, names of `Encoder`; None likewise.
        masking_config: masks it was trained with; None if the file does not say.
        classifier_config, classifier: what a fine-tuned one has on top, names of `Classifier`
            but for the encoder's; None for a pre-training checkpoint.
        labels: names of the classes in the order of the logits; None if the file does not say.
        activation: what makes probabilities of the logits, "sigmoid" (any number of classes at
            once) or "softmax" (exactly one); None likewise.
        log_mel: the front end it was trained with, `target_length` included; None likewise.
    """

    path: str
    kind: str
    encoder_config: EncoderConfig
    encoder: Weights
    decoder_config: Optional[DecoderConfig] = None
    decoder: Optional[Weights] = None
    teacher_config: Optional[TeacherConfig] = None
    teacher: Optional[Weights] = None
    masking_config: Optional[MaskingConfig] = None
    classifier_config: Optional[ClassifierConfig] = None
    classifier: Optional[Weights] = None
    labels: Optional[List[str]] = None
    activation: Optional[str] = None
    log_mel: Optional[LogMel] = None

    def encoder_weights(self, weights: str) -> Weights:
        """The encoder of the student, or of the teacher.

        Raises:
            CheckpointError: there is no teacher.
            ValueError: `weights` is neither "student" nor "teacher".
        """
        if weights not in ("student", "teacher"):
            raise ValueError(f'weights: found {weights!r}, expected "student" or "teacher"')
        if weights == "student":
            return self.encoder
        if self.teacher is None:
            raise CheckpointError(
                f"{self.path}: found no teacher in this {self.kind} checkpoint, expected a"
                " pre-training checkpoint with a teacher"
            )
        return self.teacher

    def settings(self) -> Dict[str, Any]:
        """The settings of the networks that the checkpoint carries, as flat model settings."""
        parts = (
            *(self.encoder_config, self.decoder_config, self.teacher_config),
            *(self.masking_config, self.classifier_config),
        )
        return {k: v for part in parts if part is not None for k, v in asdict(part).items()}


def fairseq_model_name(state: Mapping[str, Any]) -> Optional[str]:
    """The registered name of the model in a fairseq checkpoint; None if it is none."""
    cfg = state.get("cfg")
    model_cfg = cfg.get("model") if isinstance(cfg, dict) else None
    if not isinstance(model_cfg, dict) or not isinstance(state.get("model"), dict):
        return None
    return model_cfg.get("_name")


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Load weights that must match the module exactly.

    Args:
        module: where to load them.
        weights: under the module's own names.
        path: of the file, for the message.

    Raises:
        CheckpointError: listing missing keys, unexpected keys, differing shapes, and weights that
            are no numbers.
    """
    expected = module.state_dict()
    shared = expected.keys() & weights.keys()
    problems = [
        *_listed("missing", expected.keys() - weights.keys()),
        *_listed("unexpected", weights.keys() - expected.keys()),
        *_listed(
            "of another shape",
            (
                f"{key} (found {tuple(weights[key].shape)}, expected {tuple(expected[key].shape)})"
                for key in shared
                if weights[key].shape != expected[key].shape
            ),
        ),
        *_listed(
            "with NaN or infinite values",
            (key for key in shared if not _is_finite(weights[key])),
        ),
    ]
    if problems:
        name = type(module).__name__.lower()
        raise CheckpointError(f"{path}: the {name} does not match: {'; '.join(problems)}")
    module.load_state_dict(weights)


def _is_finite(value: Tensor) -> bool:
    # By the sum, which takes a tenth of the time; in float32, as 8-bit numbers have none.
    return bool(value.float().sum().isfinite())


def _listed(what: str, keys: Iterable[str]) -> Iterable[str]:
    keys = sorted(keys)
    return [f"{len(keys)} {what}: {', '.join(keys)}"] if keys else []
