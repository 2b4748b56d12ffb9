"""Other rates, ranges, hops and speeds than the released ones, from sound to exported files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import soxr
import torch
from helpers import logged, write_clips, write_tsv

import eat
from eat.audio import AudioError
from eat.audio.checks import scan_audio
from eat.checkpoint import CheckpointError, convert_checkpoint, load_checkpoint
from eat.checkpoint.native import write
from eat.checkpoint.onnx_network import FromWaveform
from eat.commands.main import main
from eat.data.manifest import Manifest
from eat.features import make_pipeline
from eat.features.recordings import FileRecording
from eat.figures.clip import mel_bin_of, ticks_hz
from eat.figures.network import read_clip

WIDE = {"sample_rate_hz": 32_000, "low_hz": 50.0, "high_hz": 14_000.0, "hop_ms": 5.0, "speed": 2.0}
BATS = {"sample_rate_hz": 16_000, "speed": 0.1}


def with_front_end(official, path, **settings):
    """One of the golden checkpoints in our layout, with another front end; returns its path."""
    checkpoint = load_checkpoint(official)
    write(replace(checkpoint, log_mel=replace(checkpoint.front_end(), **settings)), str(path))
    return str(path)


@pytest.fixture
def wide(official_pretrain, tmp_path):
    return with_front_end(official_pretrain, tmp_path / "wide.pt", **WIDE)


@pytest.fixture
def bats(official_pretrain, tmp_path):
    return with_front_end(official_pretrain, tmp_path / "bats.pt", **BATS)


def calls(seconds=0.5):
    """A falling call of a bat, from 80 to 20 kHz, four times a second: (S,) at 250 kHz."""
    time = np.arange(int(250_000 * seconds)) / 250_000
    phase = time % 0.25
    call = np.sin(2 * np.pi * (80_000 - 120_000 * phase) * phase)
    return 0.3 * call + 0.01 * np.random.default_rng(0).standard_normal(len(time))


@pytest.mark.parametrize(
    "layout, name", [("eat", "a.pt"), ("safetensors", "a"), ("huggingface", "a")]
)
def test_layouts_keep_the_front_end(wide, tmp_path, layout, name):
    convert_checkpoint(wide, tmp_path / "out" / name, to=layout)
    before, found = eat.load_encoder(wide), eat.load_encoder(tmp_path / "out" / name)
    assert found.log_mel == before.log_mel
    assert found.log_mel.other_range() == WIDE


def test_a_folder_tells_transformers_the_rate_of_recordings(wide, tmp_path):
    convert_checkpoint(wide, tmp_path / "folder", to="huggingface")
    extractor = json.loads((tmp_path / "folder" / "preprocessor_config.json").read_text())
    assert extractor["sampling_rate"] == 16_000  # 32 kHz at twice the speed
    assert {key: extractor[key] for key in WIDE} == WIDE
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "16000 Hz mono" in card and "frames of 5.0 ms" in card


def test_the_released_layout_refuses_what_it_cannot_tell(wide, tmp_path):
    message = "wide.pt: found sample_rate_hz 32000, expected 16000 as in the released code"
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(wide, tmp_path / "released.pt", to="official")
    assert not (tmp_path / "released.pt").exists()


@torch.no_grad()
def test_a_graph_of_sound_has_the_same_front_end(wide):
    encoder = eat.load_encoder(wide)
    clips = 0.1 * torch.randn(2, 12_000, generator=torch.manual_seed(0))
    found = FromWaveform(encoder)(clips, torch.tensor([12_000, 7_000]))
    for clip, length, output in zip(clips, (12_000, 7_000), found, strict=True):
        expected = encoder(encoder.log_mel(clip[:length]))[0]
        assert (output[: len(expected)] - expected).abs().max() < 1e-4


def test_checkpoints_of_before_have_the_released_rates(official_pretrain, tmp_path):
    path = with_front_end(official_pretrain, tmp_path / "old.pt")
    state = torch.load(path, weights_only=True)
    for key in WIDE:
        del state["cfg"]["task"][key]
    torch.save(state, path)
    assert eat.load_encoder(path).log_mel == replace(eat.LogMel(), target_length=None)


def test_recordings_of_bats_are_read_slowed_down(bats, tmp_path):
    samples = calls()
    soundfile.write(tmp_path / "bat.wav", samples, 250_000, subtype="FLOAT")
    encoder = eat.load_encoder(bats)
    found = eat.extract_features(tmp_path / "bat.wav", encoder, granularity="time")
    # 0.5 s at 160 kHz are 80,000 samples: 498 frames, 32 rows of 16 ms.
    assert found.shape == (32, 48)
    slowed = soxr.resample(samples.astype(np.float32), 250_000, 160_000)
    usual = eat.load_encoder(bats, speed=1.0)
    expected = eat.extract_features(slowed, usual, granularity="time")
    assert (found - expected).abs().max() < 1e-5
    for rate_hz, array in ((250_000, samples), (160_000, slowed)):
        again = eat.extract_features(array, encoder, "time", sample_rate_hz=rate_hz)
        assert (again - expected).abs().max() < 1e-5
    message = r"audio\[0\]: found an array without sample_rate_hz, .* front end reads at 160000 Hz"
    with pytest.raises(ValueError, match=message):
        eat.extract_features(slowed, encoder)


@pytest.mark.parametrize("stated", [True, False])
def test_times_of_features_are_those_of_the_recording(
    official_pretrain, bats, tmp_path, stated, capsys
):
    soundfile.write(tmp_path / "bat.wav", calls(), 250_000)
    checkpoint = ["--checkpoint", official_pretrain if stated else bats]
    command = ["extract", str(tmp_path / "bat.wav"), *checkpoint, "--out", str(tmp_path / "out")]
    options = ["--granularity", "time", "--format", "npz", *["--speed", "0.1"] * stated]
    assert main([*command, *options]) == 0, capsys.readouterr().err
    arrays = np.load(tmp_path / "out" / "features.npz")
    assert len(arrays["bat"]) == 32
    assert np.allclose(arrays["times"], 0.008 + 0.016 * np.arange(32))
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())["settings"]
    assert settings["speed"] == 0.1 and "hop_ms" not in settings
    assert main([*command, *options, "--speed", "0.2"]) == 1  # other features, another folder
    assert "other settings, speed=0.2 (there: 0.1)" in capsys.readouterr().err


@pytest.mark.parametrize("window_seconds, num_rows", [(None, 256), (0.32, 20)])
def test_windows_are_in_seconds_of_the_recording(bats, window_seconds, num_rows):
    """By default they have as many frames as at any speed, so that they fit into memory."""
    settings = {"window_seconds": window_seconds, "overlap_seconds": window_seconds and 0.0}
    pipeline = make_pipeline(eat.load_encoder(bats), **settings)
    parts = pipeline._open(
        [np.zeros(960_000, np.float32)], 160_000, 0
    )  # 6 s, 60 s as they are heard
    assert {part.window.num_rows for part in parts} == {num_rows}
    assert parts[0].num_samples == eat.LogMel().num_samples_for(num_rows * 16)


@pytest.mark.parametrize("speed", [0.1, 0.5])
def test_tags_are_those_of_the_slowed_sound(official_finetune, tmp_path, capsys, speed):
    rate_hz = int(16_000 / speed)
    samples = soxr.resample(calls(), 250_000, rate_hz).astype(np.float32)
    for name, declared_hz in (("bat.wav", rate_hz), ("slow.wav", 16_000)):
        soundfile.write(tmp_path / name, samples, declared_hz, subtype="FLOAT")
    command = ["tag", "--checkpoint", official_finetune, "--json"]
    assert main([*command, str(tmp_path / "slow.wav")]) == 0
    expected = json.loads(capsys.readouterr().out)[0]["tags"]
    assert main([*command, str(tmp_path / "bat.wav"), "--speed", str(speed)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["tags"] == expected


def test_a_part_to_draw_starts_at_a_time_of_the_recording(tmp_path):
    samples = calls()
    soundfile.write(tmp_path / "bat.wav", samples, 160_000, subtype="FLOAT")
    log_mel = eat.LogMel(**BATS, target_length=None)
    found = read_clip(tmp_path / "bat.wav", log_mel, 0.25, target_length=32)
    first = round(0.25 * 160_000)
    part = torch.from_numpy(samples[first : first + log_mel.num_samples_for(32)]).float()
    assert torch.allclose(found, log_mel(part), atol=1e-4)
    with pytest.raises(ValueError, match="start_seconds: found 1 in a file of 0.78 s"):
        read_clip(tmp_path / "bat.wav", log_mel, 1.0)


def test_speed_without_the_constants_is_refused(official_pretrain, tmp_path):
    state = torch.load(official_pretrain, weights_only=True)
    torch.save(state["model"], tmp_path / "bare.pt")
    with pytest.raises(ValueError, match="found only one of mean, std and speed, expected both m"):
        eat.load_encoder(tmp_path / "bare.pt", speed=0.1, num_heads=4)
    found = eat.load_encoder(tmp_path / "bare.pt", speed=0.1, num_heads=4, mean=-1.0, std=2.0)
    assert found.log_mel.reading_rate_hz == 160_000


def test_the_shortest_clip_is_one_of_25_ms_as_heard(tmp_path):
    soundfile.write(tmp_path / "call.wav", calls(0.01), 250_000)
    assert scan_audio(tmp_path / "call.wav", None, eat.LogMel(**BATS)).num_samples == 2500
    with pytest.raises(AudioError, match=r"found 160 samples at 16 kHz, .* 400 \(25 ms\)"):
        scan_audio(tmp_path / "call.wav")
    with pytest.raises(AudioError, match=r"found 160 samples at 160 kHz, .* 400 \(2.5 ms\)"):
        soundfile.write(tmp_path / "click.wav", calls(0.001), 250_000)
        FileRecording(tmp_path / "click.wav", eat.LogMel(**BATS))


@pytest.fixture
def bat_manifest(tmp_path):
    for index, seconds in enumerate((0.3, 0.01)):
        soundfile.write(tmp_path / f"{index}.wav", calls(seconds), 250_000)
    entries = [("0.wav", 75_000), ("1.wav", 2500)]
    write_tsv(tmp_path / "train.tsv", tmp_path, entries)
    return tmp_path / "train.tsv"


def test_stats_suggest_the_settings_they_were_measured_with(bat_manifest, capsys):
    command = ["stats", str(bat_manifest), "--speed", "0.1", "--low-hz", "1000"]
    assert main(command) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "task.mean" in line)
    assert line.endswith("task.target_length=288 task.speed=0.1 task.low_hz=1000.0")
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    log_mel = eat.LogMel(speed=0.1, low_hz=1000.0)
    manifest = Manifest(bat_manifest)
    values = torch.cat(
        [
            log_mel.filter_bank(
                torch.from_numpy(eat.read_audio(manifest.path(i), 160_000))
            ).flatten()
            for i in range(2)
        ]
    )
    assert found["mean"] == pytest.approx(values.double().mean().item())
    assert (found["speed"], found["low_hz"]) == (0.1, 1000.0)
    assert found["frames_percentiles"]["100"] == log_mel.num_frames(48_000) == 298


def test_check_takes_the_rates(bat_manifest, tmp_path, capsys):
    command = ["manifest", "check", str(bat_manifest), "--out", str(tmp_path / "clean")]
    assert main([*command, "--speed", "0.1"]) == 0
    assert len(Manifest(tmp_path / "clean" / "train.tsv")) == 2
    assert main([*command, "--force"]) == 1
    assert len(Manifest(tmp_path / "clean" / "train.tsv")) == 1  # 10 ms are too short
    capsys.readouterr()


def test_a_figure_has_the_frequencies_of_the_recording():
    assert ticks_hz(eat.LogMel()) == [125, 250, 500, 1000, 2000, 4000]
    assert ticks_hz(eat.LogMel(**BATS)) == [2000, 4000, 8000, 16_000, 32_000, 64_000]
    bats, wide = eat.LogMel(**BATS), eat.LogMel(sample_rate_hz=32_000)
    assert mel_bin_of(40_000, bats) == pytest.approx(mel_bin_of(4000, eat.LogMel()))
    time = torch.arange(32_000) / 32_000
    spectrum = wide.filter_bank(0.5 * torch.sin(2 * torch.pi * 12_000 * time))[0].mean(dim=0)
    assert abs(mel_bin_of(12_000, wide) - (int(spectrum.argmax()) + 0.5)) <= 1


@pytest.mark.slow
def test_training_at_32_khz(train, official_finetune, tmp_path):
    pytest.importorskip("fairseq")
    data = tmp_path / "sounds"
    entries = write_clips(data / "audio", 12, sample_rate_hz=44_100)
    for split, part in (("train", entries[:8]), ("valid", entries[8:])):
        write_tsv(data / f"{split}.tsv", data / "audio", part)
    settings = ["task.sample_rate_hz=32000", "task.low_hz=50", "task.high_hz=14000"]
    run = train(*settings, data=data)
    assert run.returncode == 0, run.stdout
    assert [record["num_updates"] for record in logged(run.stdout)] == [1, 2, 3]
    path = tmp_path / "checkpoints" / "checkpoint_last.pt"
    encoder = eat.load_encoder(path)
    assert encoder.log_mel.other_range() == {
        "sample_rate_hz": 32_000,
        "low_hz": 50.0,
        "high_hz": 14_000.0,
    }
    sound = data / "audio" / "clip 0.wav"
    expected = eat.extract_features(sound, encoder)
    waveform = torch.from_numpy(eat.read_audio(sound, 32_000))
    with torch.no_grad():
        tokens = encoder(encoder.log_mel(waveform))[0, 1:]
    assert (expected - tokens).abs().max() < 1e-4
    for layout, name in (("huggingface", "hf"), ("safetensors", "s.safetensors")):
        convert_checkpoint(path, tmp_path / name, to=layout)
        found = eat.extract_features(sound, tmp_path / name)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("speed", [1e-5, 1e-4])
def test_a_speed_that_would_read_for_hours_is_refused(speed):
    with pytest.raises(ValueError, match=r"speed: found .*, of at most 20000000 Hz \(found 1.6e"):
        eat.LogMel(speed=speed)
