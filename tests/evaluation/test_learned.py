"""Probes of all tokens: closed forms, scikit-learn where they meet, and labels in known places."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from eat.evaluation import (
    TOKEN_METHODS,
    ClipVectors,
    ProbeSettings,
    Source,
    TokenStore,
    learned,
    make_folds,
    score_tokens,
    score_vectors,
)
from eat.evaluation.folds import Clips, hold_out
from eat.evaluation.learned import AttentiveProbe, GatedProbe, LabelledTokens, num_prototypes

NUM_CLIPS, NUM_LAYERS, WIDTH, NUM_CLASSES = 96, 4, 16, 3


@pytest.fixture(autouse=True)
def one_thread():
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


def make_tokens(targets, layer, tokens, seed=0):
    """Noise (layers, 1+L, D) of 5 to 9 patches, with the classes in some tokens of one layer."""
    generator = np.random.default_rng(seed)
    directions = 12 * np.linalg.qr(generator.standard_normal((WIDTH, WIDTH)))[0][:NUM_CLASSES]
    clips = []
    for row in targets:
        values = generator.standard_normal((NUM_LAYERS, 1 + generator.integers(5, 10), WIDTH))
        values[layer - 1, 0 if tokens == "cls" else slice(1, None)] += row @ directions
        clips.append(torch.from_numpy(values).float())
    return clips


def fill(clips, **options):
    store = TokenStore([*range(1, NUM_LAYERS + 1)], **options)
    for number, tokens in enumerate(clips):
        store.add(number, tokens)
    return store


def score(clips, targets, method, layers=(NUM_LAYERS,), **settings):
    """The result of a method that learns from tokens, in three folds."""
    vectors = {
        Source(layer, "mean"): np.stack([clip[layer - 1, 1:].mean(0).numpy() for clip in clips])
        for layer in layers
    }
    found = ClipVectors(np.arange(len(clips)), vectors, [])
    names = [f"{number}.wav" for number in range(len(clips))]
    classes = [str(number) for number in range(targets.shape[1])]
    labelled = Clips("", classes, names, names, np.full(len(clips), "train"), targets)
    folds = make_folds(targets, None, 3, seed=1)
    settings = ProbeSettings(methods=[method], device="cpu", **settings)
    if method not in TOKEN_METHODS:
        return next(score_vectors(found, targets, folds, settings))
    (result,) = score_tokens(fill(clips), found, labelled, folds, settings)
    return result


@pytest.fixture(scope="module")
def single():
    """(N, C) one class each."""
    return np.eye(NUM_CLASSES, dtype=np.uint8)[np.arange(NUM_CLIPS) % NUM_CLASSES]


@pytest.mark.parametrize("tokens", ["patches", "cls"])
def test_labels_in_a_middle_layer_are_found_where_they_are(single, tokens):
    clips = make_tokens(single, 2, tokens)
    assert score(clips, single, "logistic")["mean"] < 0.5  # 1/3 is chance
    part = "cls" if tokens == "cls" else "patches"
    attentive = score(clips, single, "attentive", layers=(1, 2, 3, 4))
    assert attentive["mean"] > 0.9 and attentive["layer"] == "all"
    where = attentive["where"]
    assert max(where["layers"], key=where["layers"].get) == "2"
    assert where["parts"][part] > 0.2  # a uniform query gives CLS about 1/8
    gated = score(clips, single, "gated")  # of all layers, whichever are asked for
    assert gated["mean"] > 0.9 and (gated["layer"], gated["pooling"]) == ("all", "prototypes")
    where = gated["where"]
    assert max(where["layers"], key=where["layers"].get) == "2"
    assert where["layers"]["2"] > 0.3
    assert (where["parts"]["cls"] > 0.5) == (tokens == "cls")
    for result in (attentive, gated):
        assert sum(result["where"]["layers"].values()) == pytest.approx(1, abs=1e-5)
        assert sum(result["where"]["parts"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("method", TOKEN_METHODS)
def test_several_labels_are_learnt_by_binary_cross_entropy(method):
    targets = (np.random.default_rng(3).random((NUM_CLIPS, NUM_CLASSES)) < 0.4).astype(np.uint8)
    clips = make_tokens(targets, 2, "patches")
    result = score(clips, targets, method, layers=(1, 2, 3, 4))
    assert result["mean"] > 0.9 and len(result["per_fold"]) == 3
    logits = torch.randn(2, NUM_CLIPS, NUM_CLASSES)
    data = LabelledTokens(None, None, (), torch.from_numpy(targets).float(), False, *[None] * 3)
    indices = torch.tensor([4, 7])
    expected = F.binary_cross_entropy_with_logits(logits[1, 7], data.targets[7])
    assert data.losses(logits[:, indices], indices)[1, 1] == pytest.approx(expected.item())


def test_a_seed_gives_the_same_and_another_one_not(single):
    clips = make_tokens(single, 2, "cls")[:60]
    found = [score(clips, single[:60], "gated", seed=seed)["where"] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_what_a_gated_probe_reads_and_its_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    tokens = F.normalize(torch.randn(NUM_LAYERS, 3, 6, WIDTH), dim=-1)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 2 + [False] * 4])
    tokens = tokens * mask[..., None]
    probe = GatedProbe(2, NUM_LAYERS, WIDTH, NUM_CLASSES)
    with torch.no_grad():
        probe.gates[1] = torch.tensor([0.0, 1.0, 3.0, -1.0])
    weights = torch.tensor([[0.25] * 4, [math.exp(g) for g in (0, 1, 3, -1)]])
    torch.testing.assert_close(probe.gates.softmax(-1), weights / weights.sum(1, keepdim=True))
    mixed = torch.einsum("ry,ybnd->rbnd", probe.gates.softmax(-1), tokens)
    cosines = F.cosine_similarity(mixed[:, :, :, None], probe.prototypes[:, None, None], dim=-1)
    expected = torch.stack(
        [
            torch.stack(
                [
                    cosines[:, clip, 1:number].amin(1),
                    cosines[:, clip, 1:number].amax(1),
                    cosines[:, clip, 0],
                ],
                dim=1,
            )
            for clip, number in enumerate((6, 4, 2))
        ],
        dim=1,
    )
    chosen = torch.tensor([[True, False, True], [True, True, True]])
    expected = expected * chosen[..., None, None]
    found, parameters = probe.read(tokens, mask, chosen), (probe.gates, probe.prototypes)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(expected.shape)
    for one, other in zip(
        *(torch.autograd.grad((x * weights).sum(), parameters) for x in (found, expected)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    nothing = probe.read(tokens, mask, chosen & False)
    (gradient,) = torch.autograd.grad(nothing.sum(), probe.prototypes)
    assert not nothing.any() and not gradient.any()


@pytest.mark.parametrize("method", TOKEN_METHODS)
def test_padding_never_counts(method):
    torch.manual_seed(0)
    store = fill([torch.randn(NUM_LAYERS, number, WIDTH) for number in (4, 9)])
    mean, std = torch.randn(2, NUM_LAYERS, WIDTH), 0.5 + torch.rand(2, NUM_LAYERS, WIDTH)
    probe = (
        AttentiveProbe(mean, std, NUM_CLASSES)
        if method == "attentive"
        else GatedProbe(2, NUM_LAYERS, WIDTH, NUM_CLASSES)
    )
    with torch.no_grad():
        for value in probe.parameters():
            value.copy_(torch.randn(value.shape))
        alone, _ = store.read([0], store.layers)
        both, mask = store.read([0, 1], store.layers)
        chosen = torch.ones(2, 2, dtype=torch.bool)
        expected = probe(alone.float(), torch.ones(1, 4, dtype=torch.bool), chosen[:, :1])[:, 0]
        both = both.float().masked_fill(~mask[None, ..., None], 7.0)
        torch.testing.assert_close(probe(both, mask, chosen)[:, 0], expected)


def test_a_uniform_query_is_a_regression_on_the_mean(single, monkeypatch):
    """Without early stopping: each fold stops by what it learns from."""
    monkeypatch.setattr(learned, "_EPOCHS", (300, 300))
    monkeypatch.setattr(learned, "_NUM_QUERIES", 1)
    monkeypatch.setattr(AttentiveProbe, "learning_rate", 0.5)
    monkeypatch.setattr(AttentiveProbe, "weight_decay", 0.01)
    monkeypatch.setattr(learned, "_PATIENCE", 300)
    monkeypatch.setattr(learned, "_BATCH_SIZE", NUM_CLIPS)
    clips = make_tokens(single, 2, "patches")
    generator = np.random.default_rng(0)
    single = np.where(generator.random((NUM_CLIPS, 1)) < 0.4, generator.permutation(single), single)
    store, every = fill(clips), torch.ones(1, NUM_CLIPS, dtype=torch.bool)
    targets = torch.from_numpy(single).float()
    data = LabelledTokens(store, np.arange(NUM_CLIPS), [2], targets, True, every, every, every)
    mean, std = learned.measure_means(data)
    tokens = [store.read([clip], [2])[0][0, 0].float() for clip in range(NUM_CLIPS)]
    means = torch.stack([clip.mean(0) for clip in tokens])
    torch.testing.assert_close(mean[0, 0], means.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(std[0, 0], means.std(0, correction=0), atol=1e-5, rtol=1e-3)
    probe = AttentiveProbe(mean, std, NUM_CLASSES)
    torch.nn.init.zeros_(probe.queries)
    probe.queries.requires_grad_(False)
    probe.biases.requires_grad_(False)
    vectors = torch.stack([((clip - mean[0]) / std[0]).mean(0) for clip in tokens])
    some, mask = store.read([0, 1], [2])
    found = probe.read(some.float(), probe.attend(some.float(), mask))
    torch.testing.assert_close(found[0, :, 0], vectors[:2])
    learned.train_probe(probe, data, seed=1)
    (scores,) = learned.apply_probe(probe, data).scores
    model = LogisticRegression(C=1e4, max_iter=5000).fit(vectors.numpy(), single.argmax(1))
    assert 0.5 < model.score(vectors.numpy(), single.argmax(1)) < 1  # the optimum is finite
    np.testing.assert_allclose(scores, model.predict_proba(vectors.numpy()), atol=0.05)


def test_prototypes_follow_the_classes():
    assert [num_prototypes(number) for number in (2, 50, 527)] == [64, 500, 5270]


def test_tokens_on_disk_are_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(learned.TokenStore.__init__.__globals__["tempfile"], "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    clips = [torch.randn(NUM_LAYERS, number, WIDTH) for number in (3, 5, 4)]
    one_clip = NUM_LAYERS * 3 * WIDTH * 2  # bytes
    with fill(clips) as memory, fill(clips, max_bytes=one_clip) as disk:
        assert [*disk._in_memory] == [0] and [*disk._in_file] == [1, 2]
        for layers in ([1, 2, 3, 4], [3]):
            (expected, mask), (found, other) = (s.read([2, 0, 1], layers) for s in (memory, disk))
            assert torch.equal(expected, found) and torch.equal(mask, other)
        assert mask.sum(1).tolist() == [4, 3, 5]
        exact = F.normalize(clips[1][2], dim=-1)
        torch.testing.assert_close(found[0, 2].float(), exact, atol=5e-4, rtol=0)
        assert list(tmp_path.iterdir()) == []  # no name: nothing is left, however the process ends


def test_a_full_disk_is_explained():
    store = fill([], max_bytes=0)
    store._file.close()
    store._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with store, pytest.raises(OSError, match="No space left .*expected room for all; use fewer"):
        store.add(0, torch.randn(NUM_LAYERS, 9, WIDTH))


def test_groups_are_held_out_as_a_whole(single):
    groups = [str(number // 4) for number in range(NUM_CLIPS)]
    for given in (groups, None):
        fold = make_folds(single, given, 3, seed=1)[0]
        train, stop = hold_out(fold, single, given, seed=1)
        assert sorted([*train, *stop]) == sorted(fold.train)
        assert 5 <= len(stop) <= 12
        if given:
            assert not {groups[n] for n in train} & {groups[n] for n in stop}
    with pytest.raises(ValueError, match="methods: found 1 groups to learn from in a fold"):
        hold_out(fold, single, ["a"] * NUM_CLIPS, seed=1)
