"""The pre-training model `eat`: student, decoder and teacher. It returns no loss."""

import logging
from dataclasses import dataclass, fields
from typing import Any, Dict, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from torch import Tensor, nn

from eat.checkpoint import Checkpoint, CheckpointError, load_checkpoint, load_weights
from eat.nn import Decoder, DecoderConfig, Encoder, EncoderConfig, MaskingConfig, MixturesConfig
from eat.nn.decoder import DecoderLayer
from eat.nn.masking import select_patches, split_mask
from eat.nn.mixtures import check_mixtures, mean_of_sources, mix_partners
from eat.nn.teacher import Teacher, TeacherConfig
from eat.nn.transformer import Block
from eat.settings import part_of, setting

logger = logging.getLogger(__name__)


@dataclass
class PretrainingModelConfig(
    EncoderConfig, MaskingConfig, DecoderConfig, TeacherConfig, MixturesConfig, FairseqDataclass
):
    """All settings of the model; the task reads the masks' settings from here."""

    init_from: Optional[str] = setting(
        "EAT checkpoint to start from (a path, or owner/name on the Hugging Face hub), with its"
        " decoder and teacher if it has them",
        None,
    )
    compile: bool = setting("compile layers with torch: slower to start, faster on a GPU", False)
    checkpoint_activations: bool = setting(
        "compute activations again for the gradient instead of keeping them: less memory, at the"
        " cost of a second forward pass",
        False,
    )


@register_model("eat", dataclass=PretrainingModelConfig)
class PretrainingModel(BaseFairseqModel):
    """EAT: a student that sees few patches of each clone predicts what a teacher sees."""

    def __init__(self, cfg: PretrainingModelConfig) -> None:
        super().__init__()
        self.encoder = Encoder(part_of(EncoderConfig, cfg))
        self.decoder = Decoder(part_of(DecoderConfig, cfg), cfg.embed_dim)
        self.teacher = Teacher(part_of(TeacherConfig, cfg), self.encoder)
        self.mixing = part_of(MixturesConfig, cfg)
        check_mixtures(self.mixing)
        self.num_updates = 0
        for part in (self.encoder, self.decoder):
            part.checkpoint_activations = cfg.checkpoint_activations
        if cfg.compile:
            compile_layers(self)

    @classmethod
    def build_model(cls, cfg: PretrainingModelConfig, task: Any = None) -> "PretrainingModel":
        """Build the model, from `cfg.init_from` if that is set, whose front end the task sees."""
        model = cls(cfg)
        if cfg.init_from:
            checkpoint = load_checkpoint(cfg.init_from)
            if task is not None:
                task.compare_front_ends(checkpoint)
            model.init_from(checkpoint)
        return model

    def forward(
        self, source: Tensor, mask: Tensor, num_visible: Optional[int] = None
    ) -> Dict[str, Tensor]:
        """Predict the teacher's targets from masked clones of each clip.

        Args:
            source: (B, 1, T, F) normalised log-mel.
            mask: (B, K, L) bool, True = hidden; equally many hidden patches in every row.
            num_visible: V if it is known, see `split_mask`.

        Returns:
            `frame_predictions` and `frame_targets`, both (M, D), at the hidden patches in the
            order of `mask`; `utterance_predictions` and `utterance_targets`, both (B*K, D);
            `mask` as given. Targets are float32. With mixtures B is twice the clips, which come
            first, and `source_targets` (M/2, D) are further targets of the mixtures' patches, the
            last M/2.

        Raises:
            ValueError: the shapes of `source` and `mask` do not fit.
        """
        self.encoder.check_source(source)
        grid = self.encoder.grid(source.shape[2])
        _check_mask(mask, source.shape[0], grid[0] * grid[1])
        clips = source
        if self.mixing.mixtures:
            mixed, mixed_ids = mix_partners(self.mixing, clips, self.encoder.config.patch_size)
            source, mask = torch.cat([clips, mixed]), torch.cat([mask, mask])
        batch_size, num_clones, _ = mask.shape
        visible_ids, hidden_ids = split_mask(mask.flatten(0, 1), num_visible)

        targets, utterance_targets = self.teacher(source)  # (B, L, D), (B, D)
        visible = self.encoder.embed_visible(
            source, visible_ids.reshape(batch_size, num_clones, -1)
        )
        for x, _ in self.encoder.run_blocks(visible):
            pass
        output = {
            "frame_predictions": self.decoder(x[:, 1:], visible_ids, hidden_ids, grid),
            "frame_targets": select_patches(targets, hidden_ids.reshape(batch_size, -1)),
            "utterance_predictions": x[:, 0],
            "utterance_targets": utterance_targets.repeat_interleave(num_clones, dim=0),
            "mask": mask,
        }
        if self.mixing.mixtures:
            alone, _ = self.teacher(clips, mixed_ids)
            kept = mean_of_sources(targets[: len(clips)], alone, mixed_ids)
            hidden_ids = hidden_ids.reshape(batch_size, -1)[len(clips) :]
            output["source_targets"] = select_patches(kept, hidden_ids)
        return output

    def step_teacher(self, num_updates: int) -> None:
        """Move the teacher after the optimizer's `num_updates`-th step."""
        self.num_updates = num_updates
        self.teacher.step(self.encoder, num_updates)

    def set_num_updates(self, num_updates: int) -> None:
        """Called by fairseq before each update and on resuming; see `step_teacher`."""
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    def init_from(self, checkpoint: Checkpoint) -> None:
        """Start from a checkpoint's weights; a CheckpointError if the sizes differ."""
        load_weights(self.encoder, checkpoint.encoder, checkpoint.path)
        if checkpoint.decoder is None:
            logger.warning("%s has no decoder: it starts from scratch", checkpoint.path)
        else:
            load_weights(self.decoder, checkpoint.decoder, checkpoint.path)
        if checkpoint.teacher is None:
            logger.warning("%s has no teacher: it starts as the student", checkpoint.path)
            self.teacher.copy_from(self.encoder)
        else:
            load_weights(self.teacher.encoder, checkpoint.teacher, checkpoint.path)


def load_pretraining_model(path: str, **overrides: Any) -> PretrainingModel:
    """Load student, decoder and teacher of a pre-training checkpoint, ours or released.

    Args:
        path: the checkpoint; a released one keeps its teacher under `_ema`.
        **overrides: model settings that replace the checkpoint's, e.g. `mask_noise_std=0.0`.

    Returns:
        The model in training mode.

    Raises:
        CheckpointError: the file is no complete pre-training checkpoint.
        ValueError: an override is not a setting of the model.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.decoder is None or checkpoint.teacher is None:
        raise CheckpointError(
            f"{path}: found a {checkpoint.kind} checkpoint without decoder or teacher,"
            " expected a pre-training checkpoint"
        )
    settings = {**checkpoint.settings(), **overrides}
    known = sorted(f.name for f in fields(PretrainingModelConfig))
    unknown = sorted(set(settings).difference(known))
    if unknown:
        raise ValueError(f"found unknown model settings {unknown}, expected among {known}")
    model = PretrainingModel(PretrainingModelConfig(**settings))
    model.init_from(checkpoint)
    return model


def compile_layers(model: nn.Module) -> None:
    """Compile all blocks and decoder layers, the code of each type once."""
    for layer in model.modules():
        if isinstance(layer, (Block, DecoderLayer)):
            if not hasattr(layer, "compile"):
                raise ValueError(f"model.compile: found torch {torch.__version__}, expected >= 2.2")
            # Batches have one shape, except the last of an epoch, which may compile once more.
            layer.compile(dynamic=False)


def _check_mask(mask: Tensor, batch_size: int, num_patches: int) -> None:
    if mask.ndim != 3 or mask.shape[0] != batch_size or mask.shape[2] != num_patches:
        raise ValueError(
            f"mask: found shape {tuple(mask.shape)}, expected ({batch_size}, K, {num_patches})"
        )
    if mask.dtype != torch.bool:
        raise ValueError(f"mask: found {mask.dtype}, expected torch.bool, True = hidden")
