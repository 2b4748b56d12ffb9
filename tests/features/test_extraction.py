import copy
import threading

import numpy as np
import pytest
import soundfile
import torch
from helpers import GOLDEN

import eat
from eat.features import Embedder, Pipeline, TokenLayout, pipeline, recordings
from eat.features.pipeline import make_batches

LENGTHS = (0.3, 1.0, 7.5, 31.0)  # seconds
LAYERS = (None, "last", "all", "mean", [3, 1], np.array([1, 3]), (1, 3), range(1, 4, 2))
WIDTH, DEPTH, COLUMNS = 48, 3, 8


@pytest.fixture(scope="module")
def encoder():
    return eat.load_encoder(str(GOLDEN / "official_pretrain.pt"))


def noise(seconds, seed=0):
    """Noise that gets louder, so that its parts differ."""
    num_samples = round(seconds * 16000)
    sound = np.random.default_rng(seed).standard_normal(num_samples)
    return (sound * np.linspace(0.01, 0.3, num_samples)).astype(np.float32)


def source_of(encoder, samples):
    return encoder.log_mel(torch.from_numpy(samples))


@torch.no_grad()
def outputs(encoder, source):
    """(depth, 1+L, D), what the encoder alone gives."""
    return torch.stack([x[0] for x, _ in encoder.layers(source)])


def select(tokens, granularity):
    """(..., 1+L, D) -> the features of a granularity."""
    cls_token, patches = tokens[..., 0, :], tokens[..., 1:, :]
    if granularity == "time":
        return patches.unflatten(-2, (-1, COLUMNS)).mean(dim=-2)
    return {"all": tokens, "frame": patches, "utterance": cls_token}[granularity]


@pytest.fixture(scope="module")
def clips():
    return [noise(seconds, seed) for seed, seconds in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def outputs_of_clips(encoder, clips):
    return [outputs(encoder, source_of(encoder, samples)) for samples in clips]


@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("granularity", ["all", "frame", "utterance", "time"])
def test_a_batch_gives_each_clip_what_the_encoder_alone_gives(
    encoder, clips, outputs_of_clips, granularity, layers
):
    batch = eat.extract_features(clips, encoder, granularity, layers)
    for blocks, features in zip(outputs_of_clips, batch, strict=True):
        blocks = select(blocks, granularity)
        if isinstance(layers, str) or layers is None:
            expected = {None: blocks[-1], "last": blocks[-1], "all": blocks, "mean": blocks.mean(0)}
            expected = expected[layers]
        else:
            expected = blocks[[number - 1 for number in layers]]
        assert features.shape == expected.shape
        assert features.dtype == torch.float32
        assert (features - expected).abs().max() < 1e-5


def test_mixed_lengths_share_batches(encoder, monkeypatch):
    """The attention mask is what keeps them apart: without it the test above means nothing."""
    sizes = []
    forward = Embedder.__call__

    def counted(self, source, lengths):
        sizes.append((len(source), lengths is not None))
        return forward(self, source, lengths)

    monkeypatch.setattr(Embedder, "__call__", counted)
    eat.extract_features([noise(seconds) for seconds in (0.3, 1.0, 1.2, 0.3)], encoder)
    eat.extract_features([noise(1.0)] * 2, encoder)
    assert sizes == [(4, True), (2, False)]


def test_one_clip_gives_a_tensor_and_a_list_gives_a_list(encoder, tmp_path):
    samples = noise(1.0)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    for audio in (samples, torch.from_numpy(samples), str(tmp_path / "a.wav"), tmp_path / "a.wav"):
        single = eat.extract_features(audio, encoder)
        assert single.shape == (56, WIDTH)
        for several in ([audio], (audio,)):
            (first,) = eat.extract_features(several, encoder)
            assert torch.equal(first, single)
    assert eat.extract_features([], encoder) == []
    path = GOLDEN / "official_pretrain.pt"
    loaded = eat.extract_features(samples, eat.load_encoder(path))
    assert torch.equal(eat.extract_features(samples, path), loaded)
    assert eat.extract_features(np.zeros(16000, np.float32), encoder).isfinite().all()
    head = torch.nn.Linear(WIDTH, 2)
    head(single).sum().backward()  # what is computed can be trained on
    assert torch.allclose(head.weight.grad, single.sum(0).expand(2, -1))


def test_arrays_of_another_rate(encoder, tmp_path):
    samples = noise(1.0)  # taken for 2 s at 8 kHz
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    from_array = eat.extract_features(samples, encoder, sample_rate_hz=8000)
    assert from_array.shape == (13 * COLUMNS, WIDTH)
    assert torch.equal(from_array, eat.extract_features(tmp_path / "a.wav", encoder))


@pytest.mark.parametrize(
    "seconds, front_end, target_length",
    [
        *((1.0, {}, 1024), (15.0, {}, 1024)),
        *((1.0, {"mean": -6.0, "std": 3.0}, 64), (1.0, {"mean": -6.0, "std": 3.0}, 128)),
    ],
)
def test_target_length_pads_and_crops_as_the_released_code(
    encoder, seconds, front_end, target_length
):
    samples = noise(seconds)
    ones_own = eat.LogMel(**front_end, target_length=64) if front_end else None
    features = eat.extract_features(
        samples, encoder, "all", log_mel=ones_own, target_length=target_length
    )
    log_mel = eat.LogMel(**front_end, target_length=target_length)
    with torch.no_grad():
        expected = encoder(log_mel(torch.from_numpy(samples)))[0]
    assert features.shape == (1 + target_length // 2, WIDTH)
    assert (features - expected).abs().max() < 1e-5
    if target_length == 64:
        features = eat.extract_features(samples, encoder, "all", log_mel=ones_own)
        assert (features - expected).abs().max() < 1e-5


@pytest.fixture
def recorded_windows(encoder):
    """A clip of 9.5 s, and what the encoder gives for its windows of 3.2 s with 0.64 s overlap."""
    samples = noise(9.5)
    starts = [0, 16, 32, 40]  # of 60 rows; the last window is moved back
    parts = [samples[start * 2560 : start * 2560 + 19 * 2560 + 15 * 160 + 400] for start in starts]
    parts[-1] = samples[starts[-1] * 2560 :]
    return samples, [outputs(encoder, source_of(encoder, part))[-1] for part in parts]


WINDOWS = {"window_seconds": 3.2, "overlap_seconds": 0.64}
SEAMS = [0, 18, 34, 46, 60]  # rows


@pytest.mark.parametrize("from_file", [False, True])
def test_long_clips_run_in_windows(encoder, recorded_windows, from_file, tmp_path):
    samples, windows = recorded_windows
    audio = tmp_path / "long.wav" if from_file else samples
    if from_file:
        soundfile.write(audio, samples, 16000, subtype="FLOAT")
    rows = [tokens[1:].unflatten(0, (20, COLUMNS)) for tokens in windows]
    kept = [
        rows[index][SEAMS[index] - start : SEAMS[index + 1] - start]
        for index, start in enumerate([0, 16, 32, 40])
    ]
    patches = torch.cat(kept)
    weights = torch.tensor(SEAMS).diff() / 60
    cls_token = (weights.unsqueeze(1) * torch.stack([tokens[0] for tokens in windows])).sum(0)
    expected = {
        "frame": patches.flatten(0, 1),
        "time": patches.mean(dim=1),
        "utterance": cls_token,
        "all": torch.cat([cls_token.unsqueeze(0), patches.flatten(0, 1)]),
    }
    for granularity, value in expected.items():
        features = eat.extract_features(audio, encoder, granularity, **WINDOWS)
        assert features.shape == value.shape
        assert (features - value).abs().max() < 1e-5
    layers = eat.extract_features(audio, encoder, "all", "all", **WINDOWS)
    assert layers.shape == (DEPTH, 1 + 60 * COLUMNS, WIDTH)
    assert (layers[-1] - expected["all"]).abs().max() < 1e-5


def test_long_files_are_read_window_by_window(encoder, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "long.flac", noise(30.0), 16000)
    reads = []
    read_audio = recordings.read_audio

    def counted(path, **part):
        reads.append((part["offset_samples"], part["num_samples"]))
        return read_audio(path, **part)

    monkeypatch.setattr(recordings, "read_audio", counted)
    features = eat.extract_features(tmp_path / "long.flac", encoder, "time", **WINDOWS)
    assert len(features) == 188
    assert len(reads) == 12
    assert max(count for _, count in reads) == 319 * 160 + 400
    reads.clear()
    soundfile.write(tmp_path / "long.flac", noise(50.0), 16000)
    eat.extract_features(tmp_path / "long.flac", encoder, target_length=64)
    assert reads == [(0, 655_360)]


def test_positions_beyond_the_stored_ones_are_computed(encoder):
    whole, encoder = encoder, copy.deepcopy(encoder)
    encoder.positions = encoder.positions[: 16 * COLUMNS]  # of 768 rows
    samples = noise(5.0)
    features = eat.extract_features(samples, encoder, "all")
    expected = outputs(whole, source_of(whole, samples))[-1]
    assert features.shape == (1 + 32 * COLUMNS, WIDTH)
    assert (features - expected).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision(official_pretrain, encoder, dtype):
    reduced = eat.load_encoder(official_pretrain, dtype=dtype)
    clips = [noise(1.0), noise(0.4)]
    found = eat.extract_features(clips, reduced, "utterance")
    expected = eat.extract_features(clips, encoder, "utterance")
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert 1e-7 < (a - b).norm() / b.norm() < 0.05


@pytest.mark.parametrize("num_clips", [1, 5])
def test_the_threads_of_torch_are_left_alone(encoder, num_clips):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        eat.extract_features([noise(1.0)] * num_clips, encoder, batch_size=1)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert [torch.get_num_threads(), *seen] == [3, 3]
    finally:
        torch.set_num_threads(before)


def test_threads_of_the_caller_do_not_take_time_from_those_that_compute(encoder):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        results = Pipeline(encoder.log_mel, batch_size=2).run([noise(0.3)] * 6, Embedder(encoder))
        assert [torch.get_num_threads() for _ in results] == [1] * 6
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_number_of_workers_changes_nothing(encoder):
    clips = [noise(0.2 + 0.1 * index, index) for index in range(12)]
    runs = [eat.extract_features(clips, encoder, num_workers=n, batch_size=3) for n in (1, 2, 4)]
    for one, two, four in zip(*runs, strict=True):
        assert torch.equal(one, two) and torch.equal(four, two)


def test_errors_name_the_clip(encoder, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    good, bad = noise(1.0), np.full(16000, np.nan, np.float32)
    for audio, error, message in (
        ([good, tmp_path / "text.wav"], eat.AudioError, r"text\.wav: not readable as audio"),
        ([good, bad], eat.AudioError, r"audio\[1\]: found NaN or infinite samples"),
        (good[:100], eat.AudioError, r"audio\[0\]: found 100 samples at 16 kHz, expected"),
        (tmp_path / "absent.wav", FileNotFoundError, "no such audio file: .*absent.wav"),
    ):
        with pytest.raises(error, match=message):
            eat.extract_features(audio, encoder)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"granularity": "patch"}, r"granularity: found 'patch', expected one of \('all', 'fra"),
        ({"layers": "first"}, r"layers: found 'first', expected .* numbers of blocks from 1 to 3"),
        ({"layers": [1, 4]}, r"layers: found \[1, 4\], expected .* from 1 to 3"),
        ({"layers": [0]}, r"layers: found \[0\]"),
        ({"layers": []}, r"layers: found \[\]"),
        ({"layers": 3}, r"layers: found 3, expected .* from 1 to 3"),
        ({"target_length": 1000}, r"target_length: found 1000, expected a positive multiple"),
        ({"window_seconds": 0.1}, r"window_seconds: found 0.1, expected 0.16 or more"),
        ({"window_seconds": float("nan")}, r"window_seconds: found nan, expected 0.16 or more"),
        ({"window_seconds": float("inf")}, r"window_seconds: found inf, expected 0.16 or more"),
        ({"overlap_seconds": float("nan")}, r"overlap_seconds: found nan, expected a number"),
        (
            {"window_seconds": 3.2, "overlap_seconds": 3.2},
            r"overlap_seconds: found 3.2, expected .* from 0 to below window_seconds 3.2",
        ),
        ({"overlap_seconds": -1}, r"overlap_seconds: found -1"),
        ({"batch_size": 0}, r"batch_size: found 0, expected 1 or more"),
    ],
)
def test_impossible_arguments(encoder, arguments, message):
    with pytest.raises(ValueError, match=message):
        eat.extract_features(noise(1.0), encoder, **arguments)


class Failing(Embedder):
    """Fails after the first batch, as a device without memory does."""

    def __call__(self, source, lengths):
        raise MemoryError("no memory")


def test_errors_of_the_network_end_the_run(encoder):
    results = Pipeline(encoder.log_mel).run([noise(1.0)] * 3, Failing(encoder))
    with pytest.raises(MemoryError, match="no memory"):
        list(results)


def test_a_bad_clip_does_not_disturb_the_others(encoder, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    bad = noise(9.5)
    bad[100_000] = np.inf  # in the third and fourth of its windows
    inputs = [noise(0.5), tmp_path / "text.wav", bad, noise(9.5), noise(0.1)[:10], noise(0.6)]
    results = sorted(
        Pipeline(encoder.log_mel, **WINDOWS).run(inputs, Embedder(encoder, "utterance")),
        key=lambda result: result.index,
    )
    assert [result.index for result in results] == [0, 1, 2, 3, 4, 5]
    assert [result.error is None for result in results] == [True, False, False, True, False, True]
    assert all((result.tokens is None) == (result.error is not None) for result in results)
    alone = eat.extract_features(inputs[3], encoder, "utterance", **WINDOWS)
    assert (results[3].tokens - alone).abs().max() < 1e-5


def test_clips_are_sorted_in_groups_of_bounded_size(encoder, monkeypatch):
    monkeypatch.setattr(pipeline, "_CLIPS_AT_ONCE", 2)
    inputs = [noise(0.2), noise(1.0), noise(0.3), noise(0.9), noise(0.1)]
    results = Pipeline(encoder.log_mel).run(inputs, Embedder(encoder, "utterance"))
    assert [result.index for result in results] == [1, 0, 3, 2, 4]


def test_any_network_can_be_run(encoder):
    class Loudness:
        layout = TokenLayout(1, 0)

        def __call__(self, source, lengths):
            return source.mean(dim=(1, 2, 3)).view(-1, 1, 1)

    (result,) = Pipeline(encoder.log_mel).run([noise(1.0)], Loudness())
    assert result.tokens.shape == (1,)
    assert torch.allclose(result.tokens, source_of(encoder, noise(1.0)).mean())


@pytest.mark.parametrize("batch_size, in_caller", [(1, True), (2, False)])
def test_where_the_network_runs_changes_nothing(encoder, clips, batch_size, in_caller):
    threads = set()

    class Observed(Embedder):
        def __call__(self, source, lengths):
            assert len(source) <= batch_size
            threads.add(threading.current_thread())
            return super().__call__(source, lengths)

    pipeline = Pipeline(encoder.log_mel, batch_size=batch_size)
    for result in pipeline.run(clips[:3], Observed(encoder, "all")):
        alone = eat.extract_features(clips[result.index], encoder, "all")
        assert (result.tokens - alone).abs().max() < 1e-5
    assert (threads == {threading.current_thread()}) == in_caller


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(official_pretrain, encoder):
    clips = [noise(seconds, seed) for seed, seconds in enumerate((0.3, 1.0, 7.5, 31.0, 50.0))]
    on_gpu = eat.load_encoder(official_pretrain, device="cuda")
    for granularity in ("all", "frame", "utterance", "time"):
        found = eat.extract_features(clips, on_gpu, granularity, "all")
        expected = eat.extract_features(clips, encoder, granularity, "all")
        for a, b in zip(found, expected, strict=True):
            assert a.device.type == "cpu"
            assert (a - b).abs().max() < 1e-3
        alone = eat.extract_features(clips[1], on_gpu, granularity, "all")
        assert (found[1] - alone).abs().max() < 1e-5


@pytest.mark.parametrize("batch_size, max_length", [(1, 1000), (4, 64), (100, 64), (100, 1)])
def test_no_batch_is_larger_than_allowed(batch_size, max_length):
    batches = make_batches(range(1, 90), lambda item: item, batch_size, max_length)
    assert sorted(item for batch in batches for item in batch) == list(range(1, 90))
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(batch) <= max_length
    assert make_batches([], len, batch_size, max_length) == []
    items = [(length, name) for name, length in enumerate([5, 100, 3, 60, 7, 5, 64])]
    batches = make_batches(items, lambda item: item[0], batch_size=3, max_length=64)
    assert [[length for length, _ in b] for b in batches] == [[100], [64], [60], [7, 5, 5], [3]]
    assert batches[3][1:] == [(5, 0), (5, 5)]  # equal lengths keep their order
