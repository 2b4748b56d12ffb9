"""The report: a training run as one page."""
