"""The fine-tuning model `eat_classifier`: an encoder with a linear head."""

import logging
from dataclasses import dataclass
from typing import Any, Optional, Sequence

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from omegaconf import MISSING

from eat.checkpoint import Checkpoint, load_checkpoint, load_weights
from eat.data.labels import Label, describe_difference
from eat.nn import Classifier, ClassifierConfig, Encoder, EncoderConfig
from eat.nn.lora import add_lora
from eat.optim.adamw import set_lr_scale
from eat.settings import part_of, setting

logger = logging.getLogger(__name__)


@dataclass
class ClassificationModelConfig(EncoderConfig, FairseqDataclass):
    """The encoder's size, and how it is fine-tuned; the classes are those of the data."""

    init_from: Optional[str] = setting(
        "EAT checkpoint to start from (a path, or owner/name on the Hugging Face hub), pretrained"
        " or fine-tuned; the model's sizes must be the checkpoint's. null: from scratch",
        MISSING,
    )
    weights: str = setting(
        "which encoder of init_from to take: student (released), teacher", "student"
    )
    new_head: bool = setting("start with a new head even if init_from is fine-tuned", False)
    pooling: str = setting(
        "input of the head: cls token (paper), mean of the patches, or time: the patches of each"
        " step of task.time_step_ms",
        "cls",
    )
    drop_path: float = setting(
        "drop path of the last block, growing linearly from 0 (paper: 0.1)", 0.1
    )
    layer_decay: float = setting(
        "factor of the learning rate from each block to the one before it (released code: 0.65)",
        0.65,
    )
    freeze_encoder: bool = setting("train the head alone, a linear probe", False)
    lora_rank: int = setting(
        "train the head and LoRA adapters of this rank (such as 8) on qkv and proj of attention,"
        " with the encoder frozen; loading and converting the checkpoint merges them. 0: none",
        0,
    )


@register_model("eat_classifier", dataclass=ClassificationModelConfig)
class ClassificationModel(Classifier, BaseFairseqModel):
    """The classifier with what training needs besides; its weights keep the classifier's names."""

    def __init__(
        self, cfg: ClassificationModelConfig, descriptors: Sequence[Label], steps_per_row: int = 1
    ) -> None:
        encoder = Encoder(part_of(EncoderConfig, cfg))
        labels = [label.name for label in descriptors]
        head = ClassifierConfig(len(labels), cfg.pooling, steps_per_row=steps_per_row)
        super().__init__(head, encoder, labels)
        self.descriptors = descriptors
        self.freeze_encoder = cfg.freeze_encoder
        encoder.set_drop_path(cfg.drop_path)
        encoder.requires_grad_(not cfg.freeze_encoder)
        set_layer_decay(encoder, cfg.layer_decay)

    @classmethod
    def build_model(cls, cfg: ClassificationModelConfig, task: Any = None) -> "ClassificationModel":
        """Build the model for the classes of the task, from `cfg.init_from` if that is set."""
        _check_lora(cfg)
        model = cls(cfg, task.descriptors, task.steps_per_row)
        if cfg.init_from:
            model.init_from(load_checkpoint(cfg.init_from), cfg.weights, cfg.new_head)
        if cfg.lora_rank:
            # At the full rate in all blocks: with layer decay adapters learn far less.
            add_lora(model.encoder, cfg.lora_rank)
        return model

    def train(self, mode: bool = True) -> "ClassificationModel":
        """A frozen encoder is always in evaluation mode."""
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.train(False)
        return self

    def init_from(
        self, checkpoint: Checkpoint, weights: str = "student", new_head: bool = False
    ) -> None:
        """Start from a checkpoint's encoder ("student" or "teacher"), and from its head if any."""
        encoder = checkpoint.encoder_weights(weights)
        if checkpoint.classifier is None or new_head:
            load_weights(self.encoder, encoder, checkpoint.path)
            logger.info("%s: a new head for %d classes", checkpoint.path, len(self.descriptors))
            return
        self._check_head(checkpoint)
        encoder = {f"encoder.{key}": value for key, value in encoder.items()}
        load_weights(self, {**encoder, **checkpoint.classifier}, checkpoint.path)
        logger.info("%s: its head for %d classes", checkpoint.path, len(self.descriptors))

    def _check_head(self, checkpoint: Checkpoint) -> None:
        """Raise a ValueError unless the head is of this form, for the same classes and steps."""
        head, own = checkpoint.classifier_config, self.config
        problem = describe_difference(head.num_classes, checkpoint.labels, self.descriptors)
        problem = problem and f"{problem} as in task.data"
        if not head.use_fc_norm:  # ESP-AVES2's
            problem = "found a head without a norm before it, expected one with fc_norm"
        form, own_form = ((c.pooling, c.steps_per_row) for c in (head, own))
        if not problem and form != own_form:
            problem = (
                "found a head with pooling {} and {} steps of a row of patches, expected {} and {}"
            ).format(*form, *own_form)
        if problem:
            raise ValueError(
                f"model.init_from: {checkpoint.path}: {problem};"
                " model.new_head=true starts with a new head"
            )


def _check_lora(cfg: ClassificationModelConfig) -> None:
    if cfg.lora_rank < 0:
        raise ValueError(f"model.lora_rank: found {cfg.lora_rank}, expected 0 or more")
    if cfg.lora_rank and (cfg.freeze_encoder or not cfg.init_from):
        raise ValueError(
            f"model.lora_rank: found {cfg.lora_rank} with model.freeze_encoder={cfg.freeze_encoder}"
            f" and model.init_from={cfg.init_from}, expected false and a checkpoint to adapt"
        )


def set_layer_decay(encoder: Encoder, decay: float) -> None:
    """Scale the learning rate of block i of n, counted from 0, by decay^(n - i).

    Parameters before the blocks get the full rate, as in the released code.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"model.layer_decay: found {decay}, expected a number above 0, up to 1")
    depth = len(encoder.blocks)
    for index, block in enumerate(encoder.blocks):
        for parameter in block.parameters():
            set_lr_scale(parameter, decay ** (depth - index))
