"""Manifests, labels and data sets; only `datasets` and `classification` need fairseq."""

MAX_TARGET_LENGTH = 1024  # frames: 10.24 s, as in the released models
