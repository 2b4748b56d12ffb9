"""How fast this machine runs EAT: an update of the pre-training, loading, feature extraction.

    (found,) = run_cases(measure_update, [UpdateCase(config="tiny", dtype="bf16")])
    found["clips_per_second"]

Each case runs in a process of its own, so that none inherits memory or threads of another.
"""

from eat.lazy import export

DTYPES = ("fp32", "bf16", "fp16")
SIZES = ("tiny", "base", "large")  # of config/pretrain_*.yaml
# What extraction can be measured on: file name extension, sample rate in Hz, channels.
RECORDINGS = (
    ("wav", 16_000, 1),
    ("wav", 44_100, 2),
    ("flac", 44_100, 2),
    ("mp3", 44_100, 2),
    ("ogg", 48_000, 1),
)

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "ExtractionCase": "extraction",
        "UpdateCase": "update",
        "describe_machine": "measuring",
        "measure_extraction": "extraction",
        "measure_loading": "loading",
        "measure_update": "update",
        "run_cases": "measuring",
    },
)
