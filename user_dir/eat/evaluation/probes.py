"""`eat.evaluation.probe_checkpoint`: how much of the labels frozen features hold."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import chain, product
from typing import Any, ContextManager, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch

from eat.checkpoint import load_encoder
from eat.data.sampling import draw_clips
from eat.machine import choose_device, keep_freed_memory
from eat.nn import Encoder, pack_linears
from eat.nn.classifier import CLIP_POOLINGS
from eat.work import show_progress

from . import METHODS, TOKEN_METHODS, ProbeSettings
from .folds import Clips, Fold, choose_folds, find_groups, hold_out, read_clips
from .learned import LabelledTokens, run_probe
from .metrics import measure, metric_for, require_scikit_learn
from .tokens import TokenStore
from .vectors import ClipVectors, Source, embed_clips, untrained_like

# When a logistic regression stops. Ten times scikit-learn's tolerance takes a third of the time;
# accuracies moved by less than their deviation over folds.
_TOLERANCE, _MAX_ITERATIONS = 1e-3, 1000

# Of conclusions: a layer stands out whose weight is this multiple of the mean weight; tokens with
# less than this share of the scores do not matter.
_STANDS_OUT, _LITTLE = 1.25, 0.05

# The settings that the report repeats.
_RECORDED = ("test", "groups_from", "steps", "target_length", "weights", "seed")
_RECORDED += ("regularisation", "neighbours")


def probe_checkpoint(
    checkpoint: str, data: str, settings: Optional[ProbeSettings] = None
) -> Dict[str, Any]:
    """Fit classifiers to the frozen features of labelled clips, and test them on other clips.

    Untrained networks of the same size are probed too: only what is above them was learnt. `data`
    is the folder of the manifests and their labels.

    Returns:
        The content of probe.json: `results` (`encoder` and what `score_vectors` and `score_tokens`
        yield), `metric` ("accuracy" or "mAP"), `num_folds`; `splits`, `num_clips` and `num_classes`
        that were used; `not_learnt`, classes that some fold tests without a clip to learn them
        from; `failed`, the clips that could not be read; `conclusions`, sentences; and the
        arguments and settings.

    Raises:
        ModuleNotFoundError, FileNotFoundError: there is no scikit-learn, or no such file.
        ValueError: a bad line, an impossible setting, or no readable clip.
    """
    settings = settings or ProbeSettings()
    require_scikit_learn()
    clips = read_clips(data, settings.splits)
    clips = clips.select(draw_clips(len(clips.paths), settings.max_clips, settings.seed))
    choose_folds(clips, settings)  # refuses what is impossible before long work
    features = (settings.pooling, settings.layers, settings.steps, settings.target_length)
    results, failures = [], set()
    for path, encoder in _open_encoders(checkpoint, settings):
        name = os.path.basename(path)
        with _open_store(encoder, settings) as store:
            vectors = embed_clips(encoder, clips.paths, *features, f"embedding, {name}", store)
            failures.update(vectors.failures)
            folds = choose_folds(readable := clips.select(vectors.clips), settings)
            scores = score_vectors(vectors, readable.targets, folds, settings)
            if store is not None:
                scores = chain(scores, score_tokens(store, vectors, readable, folds, settings))
            each = [1 if m in TOKEN_METHODS else len(vectors.values) for m in settings.methods]
            scores = show_progress(scores, sum(each), f"fitting, {name}", "probe")
            results += ({"encoder": path, **score} for score in scores)
    return {
        "checkpoint": os.fspath(checkpoint),
        "data": os.fspath(data),
        "conclusions": conclude(results, os.fspath(checkpoint), encoder.config.depth),
        **_describe(readable, folds),
        "results": results,
        **{key: getattr(settings, key) for key in _RECORDED},
        "failed": [failure._asdict() for failure in sorted(failures)],
    }


def conclude(results: Sequence[Dict[str, Any]], trained: str, last_layer: int) -> List[str]:
    """What the results say in words; of each layer and pooling the best method counts.

    `trained` is the encoder that was learnt. Poolings are compared at `last_layer`, as classifiers
    know no other, and only if they differ by more than the folds do.
    """
    best: Dict[Tuple[bool, Any, str], Dict[str, Any]] = {}
    for result in results:
        key = (result["encoder"] == trained, result["layer"], result["pooling"])
        best[key] = max(best.get(key, result), result, key=lambda one: one["mean"])
    sentences = []
    for (is_trained, layer, pooling), result in best.items():
        baseline = best.get((False, layer, pooling))
        if is_trained and baseline and result["mean"] < baseline["mean"]:
            place = "all layers" if layer == "all" else f"layer {layer}"
            is_apart = baseline["mean"] - result["mean"] > max(baseline["std"], result["std"])
            verdict = "training made it worse" if is_apart else "training gained nothing"
            sentences.append(
                f"{pooling} of {place}: {result['mean']:.3f} is below the"
                f" {baseline['mean']:.3f} of an untrained network; {verdict}"
            )
    found = [best[key] for name in CLIP_POOLINGS if (key := (True, last_layer, name)) in best]
    found.sort(key=lambda one: -one["mean"])
    if len(found) > 1 and found[0]["mean"] - found[1]["mean"] > max(one["std"] for one in found):
        scores = ", ".join(f"{one['pooling']} {one['mean']:.3f}" for one in found)
        sentences.append(f"fine-tune with model.pooling={found[0]['pooling']} ({scores})")
    learnt = [one for one in results if one["encoder"] == trained and "where" in one]
    if learnt:
        sentences += _say_where(max(learnt, key=lambda one: one["mean"]), found)
    return sentences


def _say_where(result: Dict[str, Any], of_last: Sequence[Dict[str, Any]]) -> List[str]:
    """Which layers and tokens to extract, by the best probe that learnt where the information is.

    `of_last` are results of vectors of the last layer, the best first.
    """
    name, layers, parts = result["method"], result["where"]["layers"], result["where"]["parts"]
    sentences = []
    for last in of_last[:1]:
        gain, spread = result["mean"] - last["mean"], max(result["std"], last["std"])
        if gain < -spread:
            return [
                f"{name} finds less than {last['pooling']} of the last layer: its weights tell"
                " nothing"
            ]
        if gain <= spread:
            sentences.append(f"{name} finds no more than {last['pooling']} of the last layer")
    if len(layers) > 1:
        ranked = sorted(layers, key=layers.get, reverse=True)
        num_best = int(np.argmax(np.cumsum([layers[layer] for layer in ranked]) > 0.5)) + 1
        best = ",".join(sorted(ranked[:num_best], key=int))
        advice = f"extract with --layers {best}, which have over half of the weight"
        if layers[ranked[0]] < _STANDS_OUT / len(layers):
            advice = "none stands out: extract with --layers mean"
        highest = f"layer {ranked[0]} of {len(layers)} has the highest weight"
        sentences.append(f"{name}: {highest}, {layers[ranked[0]]:.2f}; {advice}")
    advice = "use CLS and patches (--granularity all)"
    if parts["cls"] < _LITTLE:
        advice = "leave CLS out (--granularity frame)"
    elif parts["cls"] > 1 - _LITTLE:
        advice = "use CLS alone (--granularity utterance)"
    shares = ", ".join(f"{part} {share:.2f}" for part, share in parts.items())
    return [*sentences, f"{name}: shares of the scores are {shares}; {advice}"]


def _open_encoders(checkpoint: str, settings: ProbeSettings) -> Iterator[Tuple[str, Encoder]]:
    """The trained encoder, then the untrained ones, and what to call them."""
    encoder = load_encoder(checkpoint, settings.weights, choose_device(settings.device))
    yield os.fspath(checkpoint), pack_linears(encoder)
    for seed in range(settings.seed, settings.seed + settings.untrained):
        yield f"untrained (seed {seed})", pack_linears(untrained_like(encoder, seed))


def _describe(clips: Clips, folds: Sequence[Fold]) -> Dict[str, Any]:
    """What the report says of the clips that were used, and how."""
    unlearnt = np.zeros(len(clips.classes), dtype=bool)
    for train, test in folds:
        unlearnt |= clips.targets[test].any(axis=0) & ~clips.targets[train].any(axis=0)
    return {
        "splits": clips.split_names,
        "metric": metric_for(clips.targets),
        "num_clips": len(clips.paths),
        "num_classes": int(clips.targets.any(axis=0).sum()),
        "num_folds": len(folds),
        "not_learnt": [clips.classes[index] for index in np.flatnonzero(unlearnt)],
    }


def score_vectors(
    vectors: ClipVectors, targets: np.ndarray, folds: Sequence[Fold], settings: ProbeSettings
) -> Iterator[Dict[str, Any]]:
    """Yield how well every method does on every kind of vector, by the metric for the labels.

    The vectors are of N clips with `targets` (N, C); each method is fitted anew in each fold.
    Yields `layer`, `pooling`, `method`, and of the metric `mean` and `std` over folds, `per_fold`.
    """
    from threadpoolctl import threadpool_limits  # scikit-learn needs it, too

    metric = metric_for(targets)

    def score_fold(values: np.ndarray, method: str, fold: Fold) -> float:
        train, test = fold
        scores = classify(values[train], targets[train], values[test], method, settings)
        return measure(metric, scores, targets[test])

    methods = [method for method in settings.methods if method not in TOKEN_METHODS]
    for (source, values), method in product(vectors.values.items(), methods):
        # A thread for each fold, and in each a single one for matrix products: several wait for
        # each other in every step of a regression: 20 times the CPU time, on a busy machine.
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as executor:
            per_fold = [*executor.map(partial(score_fold, values, method), folds)]
        yield {**source._asdict(), "method": method, **_summary(per_fold)}


def score_tokens(
    store: TokenStore,
    vectors: ClipVectors,
    clips: Clips,
    folds: Sequence[Fold],
    settings: ProbeSettings,
) -> Iterator[Dict[str, Any]]:
    """Yield how well the methods that learn from all tokens do, see `learned`, on the same folds.

    `vectors` names the clips and the layers that are asked for. Yields what `score_vectors` does,
    and `where`: the weights of the layers (`layers`), and how much of the scores comes from which
    tokens (`parts`), of which pooling of them, both as shares by name, mean over folds.
    """
    targets, device = clips.targets, choose_device(settings.device)
    metric = metric_for(targets)
    groups = find_groups(settings.groups_from, clips)
    parts = [(*hold_out(fold, targets, groups, settings.seed), fold.test) for fold in folds]
    numbers = np.arange(len(targets))  # of each part a row (N,) of bool for each fold
    rows = [[np.isin(numbers, few) for few in part] for part in zip(*parts, strict=True)]
    sets = [torch.from_numpy(np.stack(part)).to(device) for part in rows]
    labels = torch.from_numpy(targets).float().to(device)
    data = LabelledTokens(store, vectors.clips, (), labels, metric == "accuracy", *sets)
    chosen = [*dict.fromkeys(source.layer for source in vectors.values)]
    blocks = [layer for layer in store.layers if layer != "mean"]
    name = chosen[0] if len(chosen) == 1 else ",".join(map(str, chosen))
    read = {
        "attentive": (chosen, Source("all" if chosen == blocks else name, "attention")),
        "gated": (blocks, Source("all", "prototypes")),
    }
    for method in (method for method in settings.methods if method in TOKEN_METHODS):
        layers, source = read[method]
        found = run_probe(method, data._replace(layers=layers), settings.seed)
        per_fold = []
        for scores, (train, test) in zip(found.scores, folds, strict=True):
            scores = scores * targets[train].any(axis=0)  # 0 without a clip to learn from
            per_fold.append(measure(metric, scores, targets[test]))
        where = {"layers": found.layers, "parts": found.parts}
        yield {**source._asdict(), "method": method, **_summary(per_fold), "where": where}


def _open_store(encoder: Encoder, settings: ProbeSettings) -> ContextManager[Optional[TokenStore]]:
    """Where the tokens of all blocks go, and their mean if it is asked for; None if unused."""
    if not {*TOKEN_METHODS} & {*settings.methods}:
        return nullcontext()
    keep_freed_memory()  # a quarter of a gated probe's time
    mean = ["mean"] if settings.layers == "mean" else []
    return TokenStore([*range(1, encoder.config.depth + 1), *mean])


def _summary(per_fold: List[float]) -> Dict[str, Any]:
    """What is said of the values of the metric, one of each fold."""
    return {"mean": float(np.mean(per_fold)), "std": float(np.std(per_fold)), "per_fold": per_fold}


def classify(
    vectors: np.ndarray,
    targets: np.ndarray,
    tested: np.ndarray,
    method: str,
    settings: ProbeSettings,
) -> np.ndarray:
    """Learn from the features (N, d) of clips with targets (N, C), and score others (M, d).

    The features are standardised. Returns (M, C) in [0, 1]: the probabilities of a logistic
    regression, or the share of the nearest neighbours; 0 for classes without a clip to learn from.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.preprocessing import StandardScaler

    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, expected one of {METHODS}")
    scaler = StandardScaler().fit(vectors.astype(np.float64))
    vectors, tested = scaler.transform(vectors), scaler.transform(tested)
    if method == "knn":
        model = KNeighborsRegressor(min(settings.neighbours, len(vectors)), metric="cosine")
        return model.fit(vectors, targets).predict(tested).reshape(len(tested), -1)
    stops = {"tol": _TOLERANCE, "max_iter": _MAX_ITERATIONS}
    model = LogisticRegression(C=settings.regularisation, **stops)
    shares = targets.mean(axis=0)
    scores = np.tile(np.where(shares == 1, 1.0, 0.0), (len(tested), 1))
    (learnt,) = np.nonzero((shares > 0) & (shares < 1))  # a regression refuses the other classes
    if metric_for(targets) == "accuracy" and len(learnt):  # one regression for all of them
        scores[:, learnt] = model.fit(vectors, targets.argmax(axis=1)).predict_proba(tested)
        return scores
    for index in learnt:
        scores[:, index] = model.fit(vectors, targets[:, index]).predict_proba(tested)[:, 1]
    return scores
