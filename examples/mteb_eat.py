"""EAT in the audio tasks of MTEB (Massive Text Embedding Benchmark).

pip install 'mteb[audio]'
python examples/mteb_eat.py CHECKPOINT TASK ...
"""

import sys
from typing import Any, Iterable

import mteb
import numpy as np
import torch
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from torch import Tensor

import eat


class EatEncoder(AbsEncoder):
    """The CLS token of each clip."""

    def __init__(self, checkpoint: str) -> None:
        self.encoder = eat.load_encoder(checkpoint)
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": "eat/encoder", "modalities": ["audio"], "similarity_fn_name": "cosine"}
        )

    def encode(self, inputs: Iterable[dict], **_: Any) -> Tensor:
        """Batches whose "audio" holds sounds, mono or channels first -> (clips, D)."""
        vectors = []
        for sound in (sound for batch in inputs for sound in batch["audio"]):
            samples = np.atleast_2d(sound["array"]).mean(axis=0)
            rate = sound["sampling_rate"]
            vectors.append(
                eat.extract_features(samples, self.encoder, "utterance", sample_rate_hz=rate)
            )
        return torch.stack(vectors)


if __name__ == "__main__":
    print(mteb.evaluate(EatEncoder(sys.argv[1]), mteb.get_tasks(tasks=sys.argv[2:])).to_dataframe())
