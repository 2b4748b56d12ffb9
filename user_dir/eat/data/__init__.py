"""Manifests, labels and data sets; only `datasets` and `classification` need fairseq."""
