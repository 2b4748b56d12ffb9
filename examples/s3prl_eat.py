"""EAT as an upstream of s3prl, with all of its layers.

pip install s3prl

    import s3prl.hub
    from s3prl.nn import S3PRLUpstream
    from s3prl_eat import UpstreamExpert

    s3prl.hub.eat_local = UpstreamExpert
    upstream = S3PRLUpstream("eat_local", CHECKPOINT)
"""

from typing import Any, Dict, List

from s3prl.upstream.interfaces import UpstreamBase
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import eat


class UpstreamExpert(UpstreamBase):
    """Patches averaged over frequency, after each block."""

    def __init__(self, ckpt: str, model_config: Any = None, refresh: bool = False, **hooks: Any):
        super().__init__(**hooks)
        self.encoder = eat.load_encoder(ckpt)

    def get_downsample_rates(self, key: str) -> int:
        """Samples at 16 kHz from one step of time to the next."""
        return 2560

    def forward(self, wavs: List[Tensor]) -> Dict[str, List[Tensor]]:
        """Sounds (S,) at 16 kHz -> "hidden_states" of (B, H, D), one for each block."""
        clips = [wav.cpu() for wav in wavs]
        features = eat.extract_features(clips, self.encoder, "time", layers="all")
        padded = pad_sequence([clip.transpose(0, 1) for clip in features], batch_first=True)
        return {"hidden_states": list(padded.to(wavs[0].device).unbind(dim=2))}
