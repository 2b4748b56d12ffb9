"""EAT (Efficient Audio Transformer, arXiv 2401.03497) for Hugging Face transformers 4.51 to 5.

Configuration, feature extractor and models under the names of the published checkpoints. `eat
convert --to huggingface` puts this module into the exported folder with everything that it imports
from `eat` written out, so that the folder needs torch, numpy and transformers, and nothing else.
"""

import math
import warnings
from dataclasses import fields
from typing import Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, BatchFeature, PretrainedConfig, PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    ModelOutput,
    SequenceClassifierOutput,
)

from eat.audio.log_mel import LogMel
from eat.nn.patches import PatchEmbed, pool_for_head, positions_of, sincos_positions
from eat.nn.transformer import Attention, Block, EncoderConfig, attention_weights, split_heads


class EatConfig(PretrainedConfig):
    """Sizes of an EAT model, see `EncoderConfig`; the defaults are EAT-base.

    Args:
        pooling: input of the head: "cls" token or "mean" of the patches.
        model_variant: "pretrain", or "finetune" with a classifier.
        num_classes: C; the same as `num_labels`.
        kwargs: the fields of `EncoderConfig` under their published names, `mel_bins` and
            `max_length` for the last two, and settings that all transformers configurations have.
    """

    model_type = "eat"
    # transformers 5 makes annotated attributes fields. The published name of this one is also that
    # of a setting for text generation, which transformers refuses to save unless it is a field.
    max_length: int = 768
    attribute_map = {  # noqa: RUF012 (no field)
        "hidden_size": "embed_dim",
        "num_attention_heads": "num_heads",
        "num_classes": "num_labels",
        "num_hidden_layers": "depth",
        "num_mel_bins": "mel_bins",
        "num_position_rows": "max_length",
    }

    def __init__(
        self,
        pooling: str = "cls",
        model_variant: str = "pretrain",
        num_classes: Optional[int] = None,
        **kwargs,
    ) -> None:
        defaults = {
            self.attribute_map.get(f.name, f.name): f.default for f in fields(EncoderConfig)
        }
        sizes = {name: kwargs.pop(name, default) for name, default in defaults.items()}
        self.pooling = pooling
        self.model_variant = model_variant
        if num_classes is not None:
            kwargs.setdefault("num_labels", num_classes)
        super().__init__(**kwargs)
        for name, value in sizes.items():  # last: transformers 4 has its own `max_length`
            setattr(self, name, value)


class EatFeatureExtractor(FeatureExtractionMixin):
    """Raw audio to the normalised log-mel spectrogram that the model takes; see `LogMel`.

    Args:
        sampling_rate: of the audio, in Hz, for readers of the file: it is `sample_rate_hz / speed`.
        kwargs: the fields of `LogMel`, and settings that all transformers feature extractors have.
    """

    model_input_names = ["input_values"]  # noqa: RUF012 (as in the class that it overrides)
    padding_value = 0.0  # a pipeline asks for it to put clips of one length into a batch

    def __init__(self, sampling_rate: Optional[int] = None, **kwargs) -> None:
        for f in fields(LogMel):
            setattr(self, f.name, kwargs.pop(f.name, f.default))
        self.sampling_rate = self._log_mel(None).reading_rate_hz
        super().__init__(**kwargs)

    def _log_mel(self, target_length: Optional[int]) -> LogMel:
        settings = {f.name: getattr(self, f.name) for f in fields(LogMel)}
        return LogMel(**{**settings, "target_length": target_length})

    def __call__(
        self,
        raw_speech: Union[np.ndarray, Tensor, Sequence],
        sampling_rate: Optional[int] = None,
        padding: Union[bool, str] = "max_length",
        return_tensors: Optional[str] = None,
        truncation: Optional[bool] = None,
    ) -> BatchFeature:
        """Turn audio into network input.

        Args:
            raw_speech: one clip, (S,) floats in [-1, 1] or int16, or several: (B, S) or a list.
            sampling_rate: of the audio in Hz, to have it checked.
            padding: "max_length" pads every clip to `target_length`, and the model sees the
                padding, as in training. "longest" (or True) pads to the longest clip of the batch,
                rounded up to whole patches, and returns `attention_mask` too: with it a clip gives
                what it gives alone.
            return_tensors: "pt" for torch tensors; None and "np" for numpy arrays.
            truncation: whether to cut clips to `target_length`. None: with "max_length" only, and
                with a warning. False with "max_length" refuses longer clips.

        Returns:
            `input_values` (B, 1, T, F) float32 and, for "longest", `attention_mask` (B, T) int64,
            1 = a frame of the clip.

        Raises:
            ValueError: the audio has another sampling rate, shape or type, or is too long, or
                `padding` is unknown.
        """
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(
                f"sampling_rate: found {sampling_rate} Hz, expected {self.sampling_rate} Hz;"
                " resample the audio first"
            )
        clips = _as_clips(raw_speech)
        lengths = [max(1, self._log_mel(None).num_frames(clip.shape[0])) for clip in clips]
        if padding not in ("max_length", "longest", True):
            raise ValueError(f'padding: found {padding!r}, expected "max_length" or "longest"')
        if truncation or padding == "max_length":
            self._check_lengths(lengths, truncation)
            lengths = [min(length, self.target_length) for length in lengths]
        target_length = self.target_length
        if padding != "max_length":
            target_length = math.ceil(max(lengths) / self.patch_size) * self.patch_size
        log_mel = self._log_mel(target_length)
        data = {"input_values": torch.cat([log_mel(clip) for clip in clips]).numpy()}
        if padding != "max_length":
            frames = np.arange(target_length)
            data["attention_mask"] = (frames < np.array(lengths)[:, None]).astype(np.int64)
        return BatchFeature(data, tensor_type=return_tensors)

    def _check_lengths(self, lengths: Sequence[int], truncation: Optional[bool]) -> None:
        """Say which clips will be cut, unless the caller has asked for it."""
        seconds_each = self._log_mel(None).frame_seconds
        seconds = max(lengths) * seconds_each
        if truncation or max(lengths) <= self.target_length:
            return
        message = f"raw_speech: found a clip of {seconds:g} s, which is more than target_length"
        message += f" ({self.target_length * seconds_each:g} s)"
        if truncation is False:
            raise ValueError(f"{message}, expected truncation=True or a shorter clip")
        warnings.warn(
            f'{message}: its end is left out. padding="longest" takes it whole, truncation=True'
            " cuts it without this warning",
            stacklevel=3,
        )


def _as_clips(raw_speech: Union[np.ndarray, Tensor, Sequence]) -> List[Tensor]:
    """One clip or several -> clips of shape (S,), float32."""
    is_one = len(raw_speech) == 0 or np.ndim(raw_speech[0]) == 0
    clips = [torch.as_tensor(np.asarray(clip)) for clip in ([raw_speech] if is_one else raw_speech)]
    for clip in clips:
        is_sound = clip.is_floating_point() or clip.dtype == torch.int16
        if clip.ndim != 1 or not clip.numel() or not is_sound:
            raise ValueError(
                f"raw_speech: found a clip of shape {tuple(clip.shape)} and type {clip.dtype},"
                " expected (S,) floats in [-1, 1] or int16, mono"
            )
    return [clip.float() / (32768 if clip.dtype == torch.int16 else 1) for clip in clips]


class EatPositions(nn.Module):
    """Fixed positions: a stored table, continued where clips are longer."""

    def __init__(self, config: EatConfig) -> None:
        super().__init__()
        self.num_columns = config.mel_bins // config.patch_size
        num_patches = config.max_length * self.num_columns
        # Zeros until they are loaded or `reset`: transformers builds models without memory, where
        # nothing can be computed.
        self.register_buffer("positions", torch.zeros(1, num_patches, config.embed_dim))

    def forward(self, num_patches: int) -> Tensor:
        """(L, D) positions of the first patches."""
        return positions_of(self.positions[0], num_patches, self.num_columns)

    def reset(self) -> None:
        """Fill the table."""
        _, num_patches, embed_dim = self.positions.shape
        num_rows = num_patches // self.num_columns
        self.positions.copy_(sincos_positions(num_rows, self.num_columns, embed_dim))


class EatAttention(Attention):
    """Attention by torch's fused function ("sdpa") or with its weights written out ("eager")."""

    def __init__(self, config: EatConfig) -> None:
        super().__init__(config)
        self.config = config

    def forward(self, x: Tensor, valid: Optional[Tensor] = None) -> Tensor:
        """(N, L, D) -> (N, L, D); `valid` (N, L) bool, False = no token attends to this one."""
        if self.config._attn_implementation != "eager":
            return super().forward(x, valid)
        qkv = self.qkv(x)
        values = split_heads(qkv, self.num_heads)[2]
        x = attention_weights(qkv, self.num_heads, valid).to(values.dtype) @ values
        return self.proj(x.transpose(1, 2).flatten(2))


class EatNetwork(nn.Module):
    """Patches plus positions, CLS, one LayerNorm, post-norm blocks, with the published names."""

    gradient_checkpointing = False  # set by transformers, with `_gradient_checkpointing_func`

    def __init__(self, config: EatConfig, has_classifier: bool) -> None:
        super().__init__()
        embed_dim = config.embed_dim
        self.local_encoder = PatchEmbed(config.patch_size, embed_dim)
        self.fixed_positional_encoder = EatPositions(config)
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pre_norm = nn.LayerNorm(embed_dim, eps=config.norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        for block in self.blocks:
            block.attn = EatAttention(config)
        if has_classifier:
            self.fc_norm = nn.LayerNorm(embed_dim, eps=1e-6)
            self.head = nn.Linear(embed_dim, config.num_labels)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Optional[Tensor] = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> Tuple[Tensor, Dict[str, Optional[Tuple[Tensor, ...]]]]:
        """(B, 1, T, F) -> the output of the last block (B, 1+L, D), and what is asked for.

        That is, else None: `hidden_states`, the input of the first block and the output of each;
        `attentions`, each block's weights (B, heads, 1+L, 1+L).
        """
        x, valid = input_values.to(self.extra_tokens.dtype), None
        if attention_mask is not None:
            x = x.masked_fill(attention_mask[:, None, :, None] == 0, 0.0)
            valid = F.pad(self.valid_patches(attention_mask), (1, 0), value=True)  # CLS is valid
        patches = self.local_encoder(x)
        patches = patches + self.fixed_positional_encoder(patches.shape[1])
        cls_tokens = self.extra_tokens.expand(patches.shape[0], -1, -1)
        x = self.pre_norm(torch.cat([cls_tokens, patches], dim=1))
        states, attentions = (x,), ()
        for block in self.blocks:
            if output_attentions:
                qkv = block.attn.qkv(x)
                attentions += (attention_weights(qkv, block.attn.num_heads, valid),)
            if self.gradient_checkpointing and self.training:
                x, _ = self._gradient_checkpointing_func(block.__call__, x, valid)
            else:
                x, _ = block(x, valid)
            if output_hidden_states:
                states += (x,)
        return x, {
            "hidden_states": states if output_hidden_states else None,
            "attentions": attentions if output_attentions else None,
        }

    def valid_patches(self, attention_mask: Tensor) -> Tensor:
        """Which patches hold at least one valid frame: (B, T) -> (B, L) bool."""
        patch_size = self.local_encoder.patch_size
        rows = attention_mask.bool().unflatten(1, (-1, patch_size)).any(dim=2)
        return rows.repeat_interleave(self.fixed_positional_encoder.num_columns, dim=1)


class EatPreTrainedModel(PreTrainedModel):
    """What the EAT models share."""

    config_class = EatConfig
    main_input_name = "input_values"
    has_classifier = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: EatConfig) -> None:
        super().__init__(config)
        config.model_variant = "finetune" if self.has_classifier else "pretrain"
        self.model = EatNetwork(config, self.has_classifier)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The layer whose output must have a gradient if adapters are trained with checkpoints."""
        return self.model.local_encoder

    def extract_features(
        self, input_values: Tensor, attention_mask: Optional[Tensor] = None
    ) -> Tensor:
        """All tokens of the last block, (B, 1+L, D): CLS, then patches in time-major order.

        `input_values` is (B, 1, T, F) normalised log-mel, T any multiple of the patch size;
        `attention_mask` is (B, T), 1 = valid frame. None: all are, padding included.
        """
        return self.model(input_values, attention_mask)[0]

    def _run(
        self,
        input_values: Tensor,
        attention_mask: Optional[Tensor],
        output_attentions: Optional[bool],
        output_hidden_states: Optional[bool],
    ) -> Tuple[Tensor, Dict[str, Optional[Tuple[Tensor, ...]]]]:
        """The last hidden state, and the optional fields of an output.

        None for one of the last two stands for the configuration's.
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return self.model(input_values, attention_mask, output_attentions, output_hidden_states)

    def _packed(
        self, output: ModelOutput, return_dict: Optional[bool]
    ) -> Union[ModelOutput, tuple]:
        """The output as it is, or as a tuple; transformers 4 asks for that by `torchscript` too."""
        if return_dict is None:
            return_dict = self.config.return_dict and not getattr(self.config, "torchscript", False)
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise what no checkpoint holds, as in pre-training.

        transformers 5 calls this for every module, and has made torch's own functions leave
        alone what it has loaded and marked. Nothing else may touch a parameter here.
        """
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, EatPositions):
            if not getattr(module.positions, "_is_hf_initialized", False):
                module.reset()
        elif isinstance(module, EatNetwork):
            nn.init.normal_(module.extra_tokens)


class EatModel(EatPreTrainedModel):
    """Encoder: spectrogram in, tokens out."""

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Optional[Tensor] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        return_dict: Optional[bool] = None,
    ) -> Union[BaseModelOutputWithPooling, tuple]:
        """Encode clips; `input_values` and `attention_mask` as in `extract_features`.

        Returns:
            `last_hidden_state` (B, 1+L, D), `pooler_output` (B, D): its CLS token, and if asked
            `hidden_states`: the input of the first block, then the output of each, and
            `attentions`: of each block (B, heads, 1+L, 1+L). A tuple of these if `return_dict` is
            False.
        """
        last, extra = self._run(
            input_values, attention_mask, output_attentions, output_hidden_states
        )
        output = BaseModelOutputWithPooling(last, last[:, 0], **extra)
        return self._packed(output, return_dict)


class EatForAudioClassification(EatPreTrainedModel):
    """Encoder, LayerNorm and linear head: spectrogram in, logits out."""

    has_classifier = True

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Optional[Tensor] = None,
        labels: Optional[Tensor] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        return_dict: Optional[bool] = None,
    ) -> Union[SequenceClassifierOutput, tuple]:
        """Classify clips; `input_values` and `attention_mask` as in `extract_features`.

        Args:
            labels: for a loss: (B,) class indices (cross entropy), or (B, C) floats, one for each
                class (binary cross entropy, several classes at once).

        Returns:
            `logits` (B, C), before them `loss` if there are labels, and if asked `hidden_states`
            and `attentions` as of `EatModel`. A tuple of these if `return_dict` is False.
        """
        last, extra = self._run(
            input_values, attention_mask, output_attentions, output_hidden_states
        )
        valid = None if attention_mask is None else self.model.valid_patches(attention_mask)
        pooled = pool_for_head(last, self.config.pooling, valid)
        logits = self.model.head(self.model.fc_norm(pooled))
        loss = None
        if labels is not None and labels.is_floating_point():
            loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        elif labels is not None:
            loss = F.cross_entropy(logits, labels)
        output = SequenceClassifierOutput(loss, logits, **extra)
        return self._packed(output, return_dict)


# transformers 4 looks here, and not into the folder, for the feature extractor of a pipeline.
AutoFeatureExtractor.register(EatConfig, EatFeatureExtractor, exist_ok=True)
