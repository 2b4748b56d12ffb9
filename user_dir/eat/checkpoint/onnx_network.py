"""Networks as ONNX graphs hold them: with the lengths of the clips, from log-mel or from sound."""

from typing import Any, Dict, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eat.audio.log_mel import POWER_FLOOR
from eat.nn import Classifier, Encoder

MAX_ROWS = 768  # patches along time that a graph takes, 122.88 s: the released position table


class FromLogMel(nn.Module):
    """`Encoder.forward` or `Classifier.forward` with `lengths`, without checks of their values.

    A graph cannot raise errors of its own: lengths count as the nearest of 1 to T.
    """

    input_name = "source"

    def __init__(self, network: Union[Encoder, Classifier]) -> None:
        super().__init__()
        self.network, self.log_mel = network, network.log_mel
        self.is_classifier = isinstance(network, Classifier)
        self.encoder = network.encoder if self.is_classifier else network
        self.output_name = "logits" if self.is_classifier else "tokens"

    def forward(self, source: Tensor, lengths: Tensor) -> Tensor:
        """(B, 1, T, F) and (B,) valid frames -> (B, 1+L, D) tokens or (B, C) logits.

        Of a classifier over time they are (B, steps, C), and so are probabilities.
        """
        lengths = lengths.clamp(min=1)
        source, valid = self.encoder.mask_padding(source, lengths)
        for tokens, _ in self.encoder.run_blocks(self.encoder.embed(source), valid):
            pass
        return self.network.classify(tokens, lengths) if self.is_classifier else tokens

    def alone(self, source: Tensor, length: int) -> Tensor:
        """What torch gives for one clip of a batch, (1, T, F) -> (1+L, D) or (C,)."""
        size = self.log_mel.patch_size
        source = source[:, : -(-length // size) * size].unsqueeze(0)
        return self.network(source, torch.tensor([length]))[0]

    def dynamic_axes(self) -> Dict[int, Any]:
        """The axis of time and its sizes."""
        return {2: self.log_mel.patch_size * torch.export.Dim("rows", min=1, max=MAX_ROWS)}

    def example(self, num_clips: int, num_rows: int) -> Tuple[Tensor, Tensor]:
        """Noise of that many patches along time, each clip shorter than the one before."""
        shape = (1, num_rows * self.log_mel.patch_size, self.log_mel.num_mel_bins)
        return _noise((num_clips, *shape), time_axis=2)


class FromWaveform(FromLogMel):
    """The same from sound; a classifier returns probabilities, by sigmoid unless it says softmax.

    A clip becomes what `log_mel` makes of it alone: of the length of the training, whose padding
    counts, or of its own.
    """

    input_name = "waveform"

    def __init__(self, network: Union[Encoder, Classifier]) -> None:
        super().__init__(network)
        self.output_name = "probabilities" if self.is_classifier else "tokens"
        kernel, filters = self.log_mel.as_convolutions()
        self.register_buffer("kernel", kernel)
        self.register_buffer("filters", filters)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """(B, S) sound and (B,) valid samples -> (B, 1+L, D) tokens or (B, C) probabilities."""
        return self._activated(super().forward(*self._front_end(waveform, lengths)))

    def alone(self, waveform: Tensor, length: int) -> Tensor:
        """What torch gives for one clip of a batch, (S,) -> (1+L, D) or (C,)."""
        return self._activated(self.network(self.log_mel(waveform[:length])))[0]

    def dynamic_axes(self) -> Dict[int, Any]:
        """The axis of time and its sizes."""
        longest = self.log_mel.num_samples_for(MAX_ROWS * self.log_mel.patch_size + 1) - 1
        return {1: torch.export.Dim("samples", min=self.log_mel.window_samples, max=longest)}

    def example(self, num_clips: int, num_rows: int) -> Tuple[Tensor, Tensor]:
        """Noise that fills so many patches along time, each clip shorter than the one before."""
        samples = self.log_mel.num_samples_for(num_rows * self.log_mel.patch_size)
        return _noise((num_clips, samples), time_axis=1)

    def _activated(self, output: Tensor) -> Tensor:
        if not self.is_classifier:
            return output
        return output.softmax(dim=-1) if self.network.activation == "softmax" else output.sigmoid()

    def _front_end(self, waveform: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """What `log_mel` makes, (B, 1, T, F), and (B,) the frames that count."""
        target, size = self.log_mel.target_length, self.log_mel.patch_size
        hop, window = self.log_mel.hop_samples, self.log_mel.window_samples
        lengths = lengths.clamp(1, waveform.shape[1])
        padding = torch.arange(waveform.shape[1]) >= lengths.unsqueeze(1)
        waveform = waveform.masked_fill(padding, 0.0)
        waveform = waveform - waveform.sum(dim=1, keepdim=True) / lengths.unsqueeze(1)
        if target is None:  # T is rounded up to whole patches
            waveform = F.pad(waveform, (0, hop * (size - 1)))
        else:
            needed = self.log_mel.num_samples_for(target)
            waveform = F.pad(waveform, (0, needed))[:, :needed]
        spectrum = F.conv1d(waveform.unsqueeze(1), self.kernel, stride=hop)
        energies = F.conv1d(spectrum.square(), self.filters)  # (B, F, T)
        frames = energies.clamp_min(POWER_FLOOR).log().transpose(1, 2)
        frames = frames[:, : frames.shape[1] // size * size]
        counted = 1 + (lengths - window) // hop
        padding = torch.arange(frames.shape[1]) >= counted.unsqueeze(1)
        frames = frames.masked_fill(padding.unsqueeze(2), 0.0)
        source = (frames - self.log_mel.mean) / (2 * self.log_mel.std)
        counted = (counted + size - 1).clamp(min=size) // size * size
        return source.unsqueeze(1), counted if target is None else torch.full_like(counted, target)


def _noise(shape: Tuple[int, ...], time_axis: int) -> Tuple[Tensor, Tensor]:
    """Noise, and lengths of which each is a fifth shorter than the one before."""
    generator = torch.Generator().manual_seed(0)
    size = shape[time_axis]
    lengths = [size - index * size // 5 for index in range(shape[0])]
    return 0.5 * torch.randn(shape, generator=generator), torch.tensor(lengths)
