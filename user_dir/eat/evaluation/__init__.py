"""What a trained network is worth: metrics, scores of a classifier, probes of frozen features."""

from dataclasses import dataclass
from typing import List, Optional

from eat.features import DeviceOption, LayersOption, TargetLengthOption, WeightsOption
from eat.lazy import export
from eat.settings import setting

# Here, because the options of commands need them, and the modules that use them import torch.
POOLINGS = ("cls", "mean", "time")
METHODS = ("logistic", "knn")  # of vectors
TOKEN_METHODS = ("attentive", "gated")  # of all tokens
EVENT_FORMATS = ("table", "csv", "audacity", "raven")
LABELLED_SPLITS = ("train", "valid", "eval", "test")


@dataclass(kw_only=True)
class ProbeSettings(DeviceOption, LayersOption, TargetLengthOption, WeightsOption):
    """What `probe_checkpoint` does; the fields are the options of `eat probe`."""

    splits: Optional[List[str]] = setting(
        f"manifests to use. Not given: those of {', '.join(LABELLED_SPLITS)} that have labels",
        None,
        metavar="SPLIT",
    )
    max_clips: int = setting("clips to use, drawn at random; 0 uses all", 0, at_least=0)
    test: Optional[str] = setting(
        "split to test on, after learning from the others. Not given: cross-validation",
        None,
        metavar="SPLIT",
    )
    folds: int = setting("parts of the cross-validation", 5, at_least=2)
    groups_from: Optional[str] = setting(
        "what must not be both learnt from and tested on, such as a speaker: parent, the folder of"
        " a clip; regex:PATTERN, what its parentheses match in the path of a clip below the root;"
        " csv:FILE, the column `group` of a table. Not given: every clip is its own group",
        None,
        metavar="SOURCE",
    )
    pooling: List[str] = setting(
        "vectors of a clip: cls: the CLS token; mean: the mean of the patches; time: the patches"
        " averaged over frequency, and over time to --steps steps, one after the other",
        POOLINGS,
        choices=POOLINGS,
    )
    steps: int = setting("time steps that the pooling `time` keeps", 8, at_least=1)
    methods: List[str] = setting(
        "classifiers: logistic regression; knn: nearest neighbours by cosine. Two learn from all"
        " tokens where the information is: attentive: learned queries attend to CLS and patches of"
        " --layers; gated: prototypes on learned weights of all layers (BAT, arXiv 2602.16305)",
        METHODS,
        choices=(*METHODS, *TOKEN_METHODS),
    )
    regularisation: float = setting(
        "C of the logistic regression; smaller is stronger", 0.1, at_least=1e-9, metavar="C"
    )
    neighbours: int = setting("neighbours that knn asks", 10, at_least=1)
    untrained: int = setting(
        "untrained encoders to compare with; 0 for none", 1, at_least=0, metavar="N"
    )
    seed: int = setting(
        "seed of draws, folds and the first untrained encoder; each further one's is one higher",
        1,
        at_least=0,
    )


_EXPORTS = {
    "classifier": ("Evaluation", "evaluate_checkpoint"),
    "event_files": ("EventWriter", "write_event_tables"),
    "finding": ("Detection", "EventFinder", "find_events"),
    "folds": ("Fold", "make_folds"),
    "probes": ("probe_checkpoint", "score_tokens", "score_vectors"),
    "tagging": ("tag",),
    "timeline": ("Scorer", "read_thresholds", "tag_over_time", "tag_stream"),
    "tokens": ("TokenStore",),
    "vectors": ("ClipVectors", "Source", "embed_clips", "untrained_like"),
}
__getattr__, __dir__, __all__ = export(__name__, _EXPORTS)
