"""Maps of embeddings: points are clips, near each other if the encoder takes them as alike."""

from collections import Counter
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from . import MAPPING_METHODS, MIN_MAPPED_CLIPS
from .style import HIDDEN_COLOUR, LINE_COLOURS, add_note, figure_style, shorten

_MARKERS = ("o", "s", "^")
_NOTE = (
    "What to look for: clips of one colour beside each other. Mixed colours tell that these two"
    " axes do not separate the kinds; `eat probe` tells whether the whole vectors do."
)
# Every colour in every shape; rarer labels share the colour of what is not looked at.
MAX_KINDS = len(LINE_COLOURS) * len(_MARKERS)
_MAX_CHARACTERS = 40  # of a name; leaves room for the map
_MAX_PERPLEXITY = 30.0  # of t-SNE; about the number of neighbours that matter to a point


def map_embeddings(
    features: np.ndarray, method: str = "pca", seed: int = 1
) -> Tuple[np.ndarray, Tuple[str, str]]:
    """Put clips on a plane: (N, D) features -> (N, 2) points, and what the two axes are."""
    if features.ndim != 2 or len(features) < MIN_MAPPED_CLIPS or features.shape[1] < 2:
        raise ValueError(
            f"features: found shape {features.shape}, expected at least {MIN_MAPPED_CLIPS} clips"
            " of 2 values"
        )
    if not np.isfinite(features).all():
        raise ValueError("features: found NaN or infinite values, expected finite ones")
    if method == "pca":
        pca = PCA(2, svd_solver="full")
        points = pca.fit_transform(features)
        shares = enumerate(100 * pca.explained_variance_ratio_, start=1)
        return points, tuple(f"component {n} ({p:.0f} % of the variance)" for n, p in shares)
    if method == "tsne":
        perplexity = min(_MAX_PERPLEXITY, (len(features) - 1) / 3)
        tsne = TSNE(2, init="pca", perplexity=perplexity, random_state=seed)
        return tsne.fit_transform(features), ("t-SNE 1", "t-SNE 2")
    raise ValueError(f"method: found {method!r}, expected one of {MAPPING_METHODS}")


@figure_style
def draw_map(
    vectors: Mapping[int, np.ndarray],
    kinds: Union[Sequence[Optional[str]], Mapping[int, str]],
    title: str,
    method: str = "pca",
    seed: int = 1,
) -> Figure:
    """Draw a map of clips, each kind in a colour and shape of its own.

    Vectors (D,) and kinds (see `name_kinds`) are by the number of the clip. Clips of no kind, or of
    a kind beyond the `MAX_KINDS` most frequent ones, are drawn in grey. The method is "pca", the
    directions of largest variance, or "tsne", which keeps neighbours together and distorts
    distances (van der Maaten and Hinton 2008).
    """
    points, (x_name, y_name) = map_embeddings(np.array([*vectors.values()]), method, seed)
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots()
    size = float(np.clip(8000 / len(points), 6, 40))
    for name, clips, style in _groups([kinds[clip] for clip in vectors]):
        shown = shorten(name, _MAX_CHARACTERS)
        axes.scatter(*points[clips].T, s=size, label=shown, linewidths=0, alpha=0.8, **style)
    axes.set(xlabel=x_name, ylabel=y_name, xticks=[], yticks=[])
    axes.set_title(f"{len(points)} clips of {title}")
    figure.legend(loc="outside right upper", fontsize="small", markerscale=1.5)
    add_note(figure, _NOTE)
    return figure


def _groups(labels: Sequence[Optional[str]]) -> Iterator[Tuple[str, np.ndarray, Dict[str, Any]]]:
    """Name, clips and style of each label in alphabetical order, then of all other clips."""
    counts = Counter(label for label in labels if label is not None)
    kept = sorted(label for label, _ in counts.most_common(MAX_KINDS))
    numbers = np.array([kept.index(label) if label in kept else len(kept) for label in labels])
    for number, label in enumerate(kept):
        shape, colour = divmod(number, len(LINE_COLOURS))
        style = {"color": LINE_COLOURS[colour], "marker": _MARKERS[shape], "zorder": 2}
        yield label, np.flatnonzero(numbers == number), style
    rest = np.flatnonzero(numbers == len(kept))
    if len(rest):
        num_others = len(counts) - len(kept)
        name = f"{num_others} other labels" if num_others else "no label"
        yield name, rest, {"color": HIDDEN_COLOUR, "marker": ".", "zorder": 1}
