"""The fine-tuning model `eat_classifier`: an encoder with a linear head."""

import logging
from dataclasses import dataclass, field
from typing import Any, List, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model

from eat.checkpoint import Checkpoint, load_checkpoint, load_weights, student_or_teacher
from eat.nn import Classifier, ClassifierConfig, Encoder, EncoderConfig
from eat.optim.adamw import set_lr_scale

from .configs import part_of

logger = logging.getLogger(__name__)


@dataclass
class ClassificationModelConfig(EncoderConfig, FairseqDataclass):
    """The encoder's size, and how it is fine-tuned; the classes are those of the data."""

    init_from: Optional[str] = field(
        default=None,
        metadata={
            "help": "checkpoint to start from (ours, released .pt, Hugging Face), pretrained or"
            " fine-tuned; the sizes below are then the checkpoint's. null: from scratch"
        },
    )
    weights: str = field(
        default="student",
        metadata={"help": "which encoder of init_from to take: student (released), teacher"},
    )
    new_head: bool = field(
        default=False,
        metadata={"help": "if init_from is fine-tuned: start with a new head all the same"},
    )
    pooling: str = field(
        default="cls",
        metadata={"help": "what is classified: cls token (paper) or mean of the patches"},
    )
    drop_path: float = field(
        default=0.1,
        metadata={"help": "drop path of the last block, growing linearly from 0 (paper: 0.1)"},
    )
    layer_decay: float = field(
        default=0.65,
        metadata={
            "help": "factor of the learning rate from each block to the one before it (released"
            " code: 0.65)"
        },
    )
    freeze_encoder: bool = field(
        default=False, metadata={"help": "train the head alone, a linear probe"}
    )


@register_model("eat_classifier", dataclass=ClassificationModelConfig)
class ClassificationModel(Classifier, BaseFairseqModel):
    """The classifier with what training it takes; its weights have the classifier's names."""

    def __init__(self, cfg: ClassificationModelConfig, labels: List[str]) -> None:
        encoder = Encoder(part_of(EncoderConfig, cfg))
        super().__init__(ClassifierConfig(len(labels), cfg.pooling), encoder, labels)
        self.freeze_encoder = cfg.freeze_encoder
        encoder.set_drop_path(cfg.drop_path)
        encoder.requires_grad_(not cfg.freeze_encoder)
        set_layer_decay(encoder, cfg.layer_decay)

    @classmethod
    def build_model(cls, cfg: ClassificationModelConfig, task: Any = None) -> "ClassificationModel":
        """Build the model for the classes of the task, from `cfg.init_from` if that is set."""
        model = cls(cfg, task.labels)
        if cfg.init_from:
            model.init_from(load_checkpoint(cfg.init_from), cfg.weights, cfg.new_head)
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
        """Start from a checkpoint's encoder, and from its head if it has one.

        Args:
            checkpoint: pretrained or fine-tuned.
            weights: "student" or "teacher".
            new_head: leave the checkpoint's head aside.

        Raises:
            CheckpointError: the sizes differ, or there is no teacher.
            ValueError: the head is one for other classes.
        """
        load_weights(self.encoder, student_or_teacher(checkpoint, weights), checkpoint.path)
        if checkpoint.classifier is None or new_head:
            logger.info("%s: the head starts from scratch", checkpoint.path)
            return
        ...


def set_layer_decay(encoder: Encoder, decay: float) -> None:
    """Scale the learning rate of block i of n, counted from 0, by decay^(n - i).

    What comes before the blocks gets the full rate, as in the released code.
    """
    depth = len(encoder.blocks)
    for index, block in enumerate(encoder.blocks):
        for parameter in block.parameters():
            set_lr_scale(parameter, decay ** (depth - index))
