"""Manifests, labels and data sets; only `datasets` needs fairseq."""
