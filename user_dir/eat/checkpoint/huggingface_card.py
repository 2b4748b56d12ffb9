"""The model card of an exported Hugging Face folder."""

from typing import Dict, Tuple

from eat.audio import LogMel

from .checkpoint import Checkpoint

# What the published weights' names call them; other sizes are told by their numbers.
_SIZES: Dict[Tuple[int, int], str] = {(768, 12): "EAT-base", (1024, 24): "EAT-large"}

_CARD = """---
library_name: transformers
license: unknown
pipeline_tag: {pipeline_tag}
tags:
- audio
- eat
---

# {title}

An Efficient Audio Transformer ([EAT, arXiv 2401.03497](https://arxiv.org/abs/2401.03497)): a
Transformer over 16 x 16 patches of a log-mel spectrogram, pre-trained by predicting what a moving
average of itself sees. {purpose}

| | |
|---|---|
| width, blocks, heads | {embed_dim}, {depth}, {num_heads} |
| parameters | {num_parameters} |
| input | 16 kHz mono, {num_mel_bins} mel bins, (x - ({mean})) / (2 * {std}) |
| trained with | {target_length} frames of 10 ms; other lengths work too |

## Use

With transformers 4.51 or later, 5 included, torch and numpy. The code in this folder is run, hence
`trust_remote_code`. `folder` is this folder, or its name on the Hub; `waveform` holds floats in
[-1, 1] at 16 kHz.

```python
from transformers import {imports}

{snippet}
```

`extractor(waveforms, padding="longest", sampling_rate=16000, return_tensors="pt")` takes clips of
any length whole, and adds an `attention_mask` with which padding does not change the outputs.

## Licence

The code is under the MIT licence. The weights are under the licence of the checkpoint they were
converted from.

## Citation

```bibtex
@article{{chen2024eat,
  title   = {{{{EAT}}: Self-Supervised Pre-Training with Efficient Audio Transformer}},
  author  = {{Chen, Wenxi and Liang, Yuzhe and Ma, Ziyang and Zheng, Zhisheng and Chen, Xie}},
  journal = {{arXiv preprint arXiv:2401.03497}},
  year    = {{2024}}
}}
```
"""

_ENCODER_SNIPPET = """\
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
inputs = extractor(waveform, sampling_rate=16000, return_tensors="pt")
tokens = model(**inputs).last_hidden_state  # (clips, 1 + patches, {embed_dim}), CLS first"""

_CLASSIFIER_SNIPPET = """\
classify = pipeline("audio-classification", model=folder, trust_remote_code=True)
# sigmoid: any number of labels at once; softmax: exactly one
classify(waveform, top_k=5, function_to_apply="{activation}")

extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True).eval()
inputs = extractor(waveform, sampling_rate=16000, return_tensors="pt")
logits = model(**inputs).logits  # (clips, {num_classes})
tokens = model.extract_features(**inputs)  # (clips, 1 + patches, {embed_dim}), CLS first"""


def model_card(checkpoint: Checkpoint, log_mel: LogMel) -> str:
    """`README.md`: what the model is, its sizes, its front end and how to use it."""
    encoder = checkpoint.encoder_config
    values = {**vars(encoder), **vars(log_mel), "num_parameters": _num_parameters(checkpoint)}
    size = _SIZES.get((encoder.embed_dim, encoder.depth), "EAT")
    if checkpoint.classifier_config is None:
        text = {
            "title": f"{size}, pre-trained",
            "pipeline_tag": "feature-extraction",
            "purpose": "Sound in, features out: one vector per patch and one (CLS) per clip.",
            "imports": "AutoFeatureExtractor, AutoModel",
            "snippet": _ENCODER_SNIPPET.format(**values),
        }
    else:
        num_classes = checkpoint.classifier_config.num_classes
        text = {
            "title": f"{size}, fine-tuned for {num_classes} classes",
            "pipeline_tag": "audio-classification",
            "purpose": f"Fine-tuned to tell {num_classes} classes of sounds.",
            "imports": "AutoFeatureExtractor, AutoModelForAudioClassification, pipeline",
            "snippet": _CLASSIFIER_SNIPPET.format(
                **values, num_classes=num_classes, activation=checkpoint.activation or "sigmoid"
            ),
        }
    return _CARD.format(**values, **text)


def _num_parameters(checkpoint: Checkpoint) -> str:
    weights = {**checkpoint.encoder, **(checkpoint.classifier or {})}
    weights.pop("positions")  # a table, nothing learned
    millions = sum(value.numel() for value in weights.values()) / 1e6
    return f"{millions:.1f} million" if millions >= 1 else f"{millions:.2f} million"
