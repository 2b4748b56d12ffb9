"""`eat.evaluation.probe_checkpoint`: how much of the labels frozen features hold."""

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np

from eat.checkpoint import load_encoder
from eat.data.sampling import draw_clips
from eat.files import replace_file
from eat.machine import choose_device
from eat.nn import Encoder
from eat.work import Failure, show_progress

from . import METHODS, ProbeSettings
from .folds import Clips, Fold, find_groups, make_folds, read_clips, split_at_test
from .metrics import measure, metric_for, require_scikit_learn
from .vectors import ClipVectors, embed_clips, untrained_like

_MAX_ITERATIONS = 1000  # of the logistic regression

# The settings that probe.json repeats.
_RECORDED = ("test", "groups_from", "steps", "target_length", "weights", "seed")
_RECORDED += ("regularisation", "neighbours")


@dataclass(kw_only=True)
class ProbeReport:
    """What probes found."""

    checkpoint: str
    data: str
    settings: ProbeSettings
    splits: List[str]  # whose clips were used
    metric: str  # "accuracy" or "mAP"
    num_clips: int  # that could be read
    num_classes: int  # that any of them has
    num_folds: int
    not_learnt: List[str]  # classes that some fold tests without a clip to learn them from
    results: List[Dict[str, Any]]  # `encoder` and what `score_vectors` yields
    failures: List[Failure]  # clips that could not be read

    def as_dict(self) -> Dict[str, Any]:
        """The content of probe.json."""
        values = {**vars(self), **{key: getattr(self.settings, key) for key in _RECORDED}}
        values["failed"] = [failure._asdict() for failure in values.pop("failures")]
        del values["settings"]
        return values

    def write(self, folder: str) -> None:
        """Write probe.json; an existing one is replaced."""
        os.makedirs(folder, exist_ok=True)
        with replace_file(os.path.join(folder, "probe.json")) as file:
            file.write((json.dumps(self.as_dict(), indent=2) + "\n").encode())


def probe_checkpoint(
    checkpoint: str, data: str, settings: Optional[ProbeSettings] = None
) -> ProbeReport:
    """Fit classifiers to the frozen features of labelled clips, and test them on other clips.

    Untrained networks of the same size are probed too: only what is above them was learnt.

    Args:
        checkpoint: any EAT checkpoint.
        data: folder of the manifests and their labels.
        settings: which clips, features and classifiers; None: the defaults.

    Raises:
        ModuleNotFoundError, FileNotFoundError: there is no scikit-learn, or no such file.
        ValueError: a bad line, an impossible setting, or no readable clip.
    """
    settings = settings or ProbeSettings()
    require_scikit_learn()
    clips = read_clips(data, settings.splits)
    clips = clips.select(draw_clips(len(clips.paths), settings.max_clips, settings.seed))
    probes = [Probe(m, settings.regularisation, settings.neighbours) for m in settings.methods]
    results: List[Dict[str, Any]] = []
    failures: Set[Failure] = set()
    for name, encoder in _open_encoders(checkpoint, settings):
        title = os.path.basename(name)
        how = (settings.pooling, settings.layers, settings.steps, settings.target_length)
        vectors = embed_clips(encoder, clips.paths, *how, f"embedding, {title}")
        failures.update(vectors.failures)
        readable = clips.select(vectors.clips)
        folds = _choose_folds(readable, settings)
        scores = score_vectors(vectors, readable.targets, folds, probes)
        total = len(probes) * len(vectors.values)
        for score in show_progress(scores, total, f"fitting, {title}", "probe"):
            results.append({"encoder": name, **score})
    return ProbeReport(
        checkpoint=checkpoint,
        data=data,
        settings=settings,
        splits=readable.split_names,
        metric=metric_for(readable.targets),
        num_clips=len(readable.paths),
        num_classes=int(readable.targets.any(axis=0).sum()),
        num_folds=len(folds),
        not_learnt=_find_unlearnt(readable, folds),
        results=results,
        failures=sorted(failures),
    )


def _open_encoders(checkpoint: str, settings: ProbeSettings) -> Iterator[Tuple[str, Encoder]]:
    """The trained encoder, then the untrained ones, and what to call them."""
    encoder = load_encoder(checkpoint, settings.weights, choose_device(settings.device))
    yield checkpoint, encoder
    for seed in range(settings.seed, settings.seed + settings.untrained):
        yield f"untrained (seed {seed})", untrained_like(encoder, seed)


def _choose_folds(clips: Clips, settings: ProbeSettings) -> List[Fold]:
    if settings.test is not None:
        return [split_at_test(clips, settings.test)]
    groups = None if settings.groups_from is None else find_groups(settings.groups_from, clips)
    return make_folds(clips.targets, groups, settings.folds, settings.seed)


def _find_unlearnt(clips: Clips, folds: Sequence[Fold]) -> List[str]:
    """The classes that are tested somewhere without a clip to learn them from."""
    unlearnt = np.zeros(len(clips.classes), dtype=bool)
    for train, test in folds:
        unlearnt |= clips.targets[test].any(axis=0) & ~clips.targets[train].any(axis=0)
    return [clips.classes[index] for index in np.flatnonzero(unlearnt)]


@dataclass(frozen=True)
class Probe:
    """A classifier on standardised features.

    Attributes:
        method: "logistic" regression or "knn", the nearest neighbours by cosine.
        regularisation: C of the logistic regression; smaller is stronger.
        num_neighbours: k.

    Raises:
        ValueError: no such method.
    """

    method: str = "logistic"
    regularisation: float = 0.1
    num_neighbours: int = 10

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: found {self.method!r}, expected one of {METHODS}")

    def scores(self, vectors: np.ndarray, targets: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Learn from some clips and score others.

        Args:
            vectors: (N, d) of the clips to learn from.
            targets: (N, C), 1 at the classes of a clip, 0 elsewhere.
            tested: (M, d).

        Returns:
            (M, C) in [0, 1]; 0 for classes that no clip to learn from has.
        """
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(vectors.astype(np.float64))
        classify = self._ask_neighbours if self.method == "knn" else self._regress
        return classify(scaler.transform(vectors), targets, scaler.transform(tested))

    def _ask_neighbours(
        self, vectors: np.ndarray, targets: np.ndarray, tested: np.ndarray
    ) -> np.ndarray:
        """Share of the neighbours that have each class."""
        from sklearn.neighbors import KNeighborsRegressor

        model = KNeighborsRegressor(min(self.num_neighbours, len(vectors)), metric="cosine")
        return model.fit(vectors, targets).predict(tested).reshape(len(tested), -1)

    def _regress(self, vectors: np.ndarray, targets: np.ndarray, tested: np.ndarray) -> np.ndarray:
        """Probabilities: of one regression over the classes, or if clips have several one each."""
        from sklearn.linear_model import LogisticRegression

        regression = LogisticRegression(C=self.regularisation, max_iter=_MAX_ITERATIONS)
        scores = np.zeros((len(tested), targets.shape[1]))
        shares = targets.mean(axis=0)
        scores[:, shares == 1] = 1  # nothing to tell apart, which a regression refuses
        (learnt,) = np.nonzero((shares > 0) & (shares < 1))
        if metric_for(targets) == "accuracy" and len(learnt):
            model = regression.fit(vectors, targets.argmax(axis=1))
            scores[:, learnt] = model.predict_proba(tested)
            return scores
        for index in learnt:
            model = regression.fit(vectors, targets[:, index])
            scores[:, index] = model.predict_proba(tested)[:, 1]
        return scores


def score_vectors(
    vectors: ClipVectors, targets: np.ndarray, folds: Sequence[Fold], probes: Sequence[Probe]
) -> Iterator[Dict[str, Any]]:
    """Yield how well every probe does on every kind of vector, by the metric for the labels.

    Args:
        vectors: of N clips.
        targets: (N, C), 1 at the classes of a clip, 0 elsewhere.
        folds: which clips to learn from and to test on.
        probes: what to fit anew in each fold.

    Yields:
        `layer`, `pooling`, `method`, and of the metric `mean`, `std` (both over folds), `per_fold`.
    """
    metric = metric_for(targets)
    for source, values in vectors.values.items():
        for probe in probes:
            per_fold = []
            for train, test in folds:
                scores = probe.scores(values[train], targets[train], values[test])
                per_fold.append(measure(metric, scores, targets[test]))
            yield {
                **source._asdict(),
                "method": probe.method,
                "mean": float(np.mean(per_fold)),
                "std": float(np.std(per_fold)),
                "per_fold": per_fold,
            }
