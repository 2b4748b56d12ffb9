"""What every checkpoint layout is translated to, and the helpers that translators share."""

from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Type

from torch import Tensor

from eat.audio import LogMel, RangeConfig
from eat.nn import ClassifierConfig, DecoderConfig, EncoderConfig, MaskingConfig, TeacherConfig
from eat.settings import Config

Weights = Dict[str, Tensor]
Prefixes = Mapping[str, str]  # theirs -> ours; a name falls under at most one of them

# Of LogMel; its sizes are the encoder's. Old checkpoints and others' have the first three alone.
_ALWAYS_TOLD = ("mean", "std", "target_length")
RANGE = tuple(f.name for f in fields(RangeConfig))
FRONT_END = (*_ALWAYS_TOLD, *RANGE)


class CheckpointError(ValueError):
    """A file that is no checkpoint of a known layout, or not a complete one."""

    path: Optional[str] = None  # the file, which the message then begins with; `naming` sets it

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.path is None else f"{self.path}: {message}"


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Name the file in every CheckpointError, and make one of what damaged values raise."""
    try:
        yield
    except CheckpointError as error:
        error.path = error.path or path
        raise
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file can hold anything anywhere
        damaged = CheckpointError(f"damaged: {type(error).__name__}: {first_line(error)}")
        damaged.path = path
        raise damaged from error


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its type if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class Safetensors(NamedTuple):
    """The content of a `.safetensors` file, or of a pickle of tensors alone."""

    tensors: Weights
    metadata: Dict[str, str]
    num_heads: Optional[int] = None  # what the user states; no tensor shows it


@dataclass
class Checkpoint:
    """The parts of one checkpoint under the names of our modules; None where it has none."""

    encoder_config: EncoderConfig
    encoder: Weights  # the student's
    decoder_config: Optional[DecoderConfig] = None
    decoder: Optional[Weights] = None
    teacher_config: Optional[TeacherConfig] = None
    teacher: Optional[Weights] = None  # under the names of `Encoder`
    masking_config: Optional[MaskingConfig] = None
    classifier_config: Optional[ClassifierConfig] = None
    classifier: Optional[Weights] = None  # the weights of `Classifier` without the encoder's
    labels: Optional[List[str]] = None  # names of the classes in the order of the logits
    activation: Optional[str] = None  # "sigmoid" or "softmax", see `Classifier`
    log_mel: Optional[LogMel] = None  # the front end of the training, `target_length` included
    path: str = ""  # the file, for messages

    @property
    def kind(self) -> str:
        """For messages."""
        return "pre-training" if self.classifier is None else "fine-tuned"

    def encoder_weights(self, weights: str) -> Weights:
        """The encoder of the "student" or the "teacher"; a CheckpointError without a teacher."""
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

    def check_head(self) -> None:
        """Raise a CheckpointError for a head that the released code does not have."""
        head = self.classifier_config
        problem = "without a norm before it" if head and not head.use_fc_norm else ""
        problem = "that scores steps of time" if head and head.pooling == "time" else problem
        if problem:
            raise CheckpointError(
                f"{self.path}: found a head {problem}, expected one as in the released code: write"
                " it with --to eat, safetensors or onnx"
            )

    def front_end(self) -> LogMel:
        """The front end that it was trained with; AudioSet's values where it does not say."""
        log_mel = self.log_mel or LogMel()
        return replace(
            log_mel,
            target_length=log_mel.target_length or LogMel().target_length,
            num_mel_bins=self.encoder_config.num_mel_bins,
            patch_size=self.encoder_config.patch_size,
        )


def checkpoint_of(
    settings: Mapping[str, Any],
    front_end: Mapping[str, Any],
    encoder: Weights,
    decoder: Optional[Weights] = None,
    teacher: Optional[Weights] = None,
    classifier: Optional[Weights] = None,
    **others: Any,
) -> Checkpoint:
    """A checkpoint of the weights that there are (None or empty: none), under our names.

    Its configurations are made of flat `settings`, with defaults for those that are not there. It
    has a front end if `front_end` holds mean, std and target_length; what else is there does not
    matter. `others` are further attributes.
    """
    encoder_config = _encoder_config(settings, encoder)
    log_mel = None
    if all(key in front_end for key in _ALWAYS_TOLD):
        bins, size = encoder_config.num_mel_bins, encoder_config.patch_size
        values = {key: front_end[key] for key in FRONT_END if key in front_end}
        log_mel = LogMel(**values, num_mel_bins=bins, patch_size=size)
    # A fine-tuned checkpoint may still tell how it was pre-trained.
    trained = {} if classifier else settings
    has_teacher = teacher or "average_top_k_layers" in trained
    # Without `num_classes` the head itself tells their number.
    num_outputs = len((classifier or {}).get("head.bias", ()))
    head = {"num_classes": num_outputs // settings.get("steps_per_row", 1), **settings}
    return Checkpoint(
        encoder_config=encoder_config,
        encoder=encoder,
        decoder_config=_config(DecoderConfig, settings) if decoder else None,
        decoder=decoder or None,
        teacher_config=_config(TeacherConfig, settings) if has_teacher else None,
        teacher=teacher or None,
        masking_config=_config(MaskingConfig, settings) if "mask_ratio" in trained else None,
        classifier_config=_config(ClassifierConfig, head) if classifier else None,
        classifier=classifier or None,
        log_mel=log_mel,
        **others,
    )


def _config(config_class: Type[Config], settings: Mapping[str, Any]) -> Config:
    names = {f.name for f in fields(config_class)}
    return config_class(**{key: value for key, value in settings.items() if key in names})


def _encoder_config(settings: Mapping[str, Any], encoder: Weights) -> EncoderConfig:
    """Sizes that are numbers above 0; the position table tells its length, which has changed."""
    config = _config(EncoderConfig, settings)
    for f in fields(config):
        value, kind = getattr(config, f.name), type(f.default)
        is_known = type(value) is kind or (kind is float and type(value) is int)
        if not is_known or (kind in (int, float) and not value > 0):
            expected = "a number above 0" if kind in (int, float) else f"a {kind.__name__}"
            raise CheckpointError(
                f"found {f.name}={value!r} in its configuration, expected {expected}"
            )
    if "positions" in encoder:
        config.num_position_rows = encoder["positions"].shape[0] // max(1, config.num_columns)
    return config


def beside(path: str, name: str) -> Path:
    """The file of this name in a folder, or beside a file."""
    return Path(path, name) if Path(path).is_dir() else Path(path).with_name(name)


def in_order(names: Iterable[Tuple[int, str]], where: str) -> List[str]:
    """The names of classes, which come with their indices; a CheckpointError if one is missing."""
    names = sorted(names)
    if [index for index, _ in names] != list(range(len(names))):
        raise CheckpointError(
            f"{where}: found indices that skip or repeat some, expected 0, 1, 2, ..."
        )
    return [name for _, name in names]


def fairseq_model_name(state: Any) -> Optional[str]:
    """The registered name of the model in a fairseq checkpoint; None if it is no such thing."""
    cfg = state.get("cfg") if isinstance(state, dict) else None
    model_cfg = cfg.get("model") if isinstance(cfg, dict) else None
    if not isinstance(model_cfg, dict) or not isinstance(state.get("model"), dict):
        return None
    return model_cfg.get("_name")


def to_our_names(weights: Mapping[str, Any], *parts: Prefixes) -> List[Weights]:
    """Rename the weights of each part; a CheckpointError if any belong to no part of EAT.

    The first part is the encoder; the error also lists which of its names are absent. Foreign
    layouts store the position table as (1, rows * W, D), which becomes (rows * W, D).
    """
    rest, renamed = dict(weights), []
    for prefixes in parts:
        renamed.append({})
        for key in weights:
            theirs = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
            if theirs is None:
                continue
            value = rest.pop(key)
            if not isinstance(value, Tensor):
                found = type(value).__name__
                raise CheckpointError(f"found a {found} under {key!r}, expected a tensor")
            name = prefixes[theirs] + key[len(theirs) :]
            renamed[-1][name] = value.flatten(0, -2) if name == "positions" else value
    if rest:
        absent = [key for key in parts[0] if not any(name.startswith(key) for name in weights)]
        missing = f"; missing: {', '.join(absent)}" if absent else ""
        raise CheckpointError(f"found unexpected keys: {', '.join(sorted(rest))}{missing}")
    return renamed


def to_their_names(weights: Mapping[str, Tensor], prefixes: Prefixes) -> Weights:
    """The inverse of `to_our_names` for one part, in the order of the prefixes."""
    renamed = {}
    for theirs, ours in prefixes.items():
        for key, value in weights.items():
            if key.startswith(ours):
                value = value.unsqueeze(0) if key == "positions" else value
                renamed[theirs + key[len(ours) :]] = value.contiguous()
    return renamed
