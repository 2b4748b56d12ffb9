"""The axes of spectrograms say where things are."""

import pytest
import torch

from eat.audio import mel_filter_bank
from eat.figures.spectrogram import mel_bin_of


@pytest.mark.parametrize("frequency_hz", [250, 500, 1000, 2000, 4000, 7000])
def test_the_frequency_axis_agrees_with_the_filter_bank(frequency_hz):
    time = torch.arange(16_000) / 16_000
    spectrum = mel_filter_bank(0.5 * torch.sin(2 * torch.pi * frequency_hz * time))[0].mean(dim=0)
    assert abs(mel_bin_of(frequency_hz) - (int(spectrum.argmax()) + 0.5)) <= 1
