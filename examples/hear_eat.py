"""EAT behind the API of HEAR (Holistic Evaluation of Audio Representations, 2021).

pip install hearvalidator
PYTHONPATH=examples hear-validator hear_eat --model CHECKPOINT

Frames come every 160 ms, where HEAR suggests 50 ms for the transcription of music.
"""

from typing import Tuple

import torch
from torch import Tensor, nn

import eat


class HearModel(nn.Module):
    """An encoder with the attributes that HEAR asks for."""

    def __init__(self, encoder: eat.Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.sample_rate = encoder.log_mel.reading_rate_hz  # 16000, unless trained at another
        self.scene_embedding_size = encoder.config.embed_dim
        self.timestamp_embedding_size = encoder.config.embed_dim


def load_model(model_file_path: str) -> HearModel:
    """The model of a checkpoint."""
    return HearModel(eat.load_encoder(model_file_path))


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """(B, S) sound in [-1, 1] -> (B, D), the CLS tokens."""
    return _extract(audio, model, "utterance")


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> Tuple[Tensor, Tensor]:
    """(B, S) sound in [-1, 1] -> (B, H, D) and the (B, H) times of these in milliseconds."""
    embeddings = _extract(audio, model, "time")
    step_seconds = model.encoder.log_mel.step_seconds
    times = eat.frame_times(embeddings.shape[1], step_seconds)
    milliseconds = torch.from_numpy(1000 * times).to(embeddings)
    return embeddings, milliseconds.expand(len(audio), -1)


def _extract(audio: Tensor, model: HearModel, granularity: str) -> Tensor:
    clips, rate = list(audio.cpu()), {"sample_rate_hz": model.sample_rate}
    features = eat.extract_features(clips, model.encoder, granularity, **rate)
    return torch.stack(features).to(audio.device)
