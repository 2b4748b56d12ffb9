"""What several test modules share: paths, tiny audio, training commands and their logs."""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).parent / "golden"

# A model that trains in a second; the settings of config/pretrain_tiny.yaml stay otherwise.
MINIATURE = [
    "model.embed_dim=48",
    "model.depth=2",
    "model.num_heads=4",
    "model.decoder_depth=1",
    "model.average_top_k_layers=2",
    "model.num_clones=4",
    "dataset.batch_size=4",
    "dataset.num_workers=0",
    "dataset.data_buffer_size=0",
    "optimization.max_update=3",
    "common.log_interval=1",
]


def write_clips(folder: Path, num_clips: int, seed: int = 0, sample_rate_hz: int = 16_000) -> list:
    """Write clips of a drifting tone in noise, 0.5 to 1.5 s; returns (relative name, samples)."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for index in range(num_clips):
        num_samples = int(generator.uniform(0.5, 1.5) * sample_rate_hz)
        time = np.arange(num_samples) / sample_rate_hz
        pitch_hz = generator.uniform(200, 2000) * (1 + generator.uniform(-0.5, 0.5) * time)
        tone = 0.3 * np.sin(2 * np.pi * pitch_hz * time)
        clip = tone + 0.02 * generator.standard_normal(num_samples)
        soundfile.write(folder / f"clip {index}.wav", clip, sample_rate_hz)
        entries.append((f"clip {index}.wav", num_samples))
    return entries


def write_mp3_without_length(
    path: Path, samples: np.ndarray, sample_rate_hz: int, **kwargs
) -> None:
    """Write an mp3, by default of variable rate, without the frame that tells how long it is."""
    kwargs = {"bitrate_mode": "VARIABLE", "compression_level": 0.5, **kwargs}
    soundfile.write(path, samples, sample_rate_hz, format="MP3", **kwargs)
    data = path.read_bytes()
    assert b"Xing" in data[:64] or b"Info" in data[:64]
    path.write_bytes(data[data.index(data[:2], 2) :])  # every frame starts alike


def write_tsv(path: Path, root: Path, entries: list) -> None:
    lines = [str(root), *(f"{name}\t{num_samples}" for name, num_samples in entries)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def private_bytes(data, queue) -> None:
    """Puts what this process alone holds in memory, and the last path of a data set it was given.

    Here, as a process that is not forked can import this module only.
    """
    path = data.manifest.path(int(data.clips[-1]))
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        fields = [line.split() for line in file]
    queue.put((sum(int(f[1]) * 1024 for f in fields if f[0] == "Private_Dirty:"), path))


def train_command(config: str, overrides: list) -> list:
    return [
        *(sys.executable, "-m", "fairseq_cli.hydra_train"),
        *("--config-dir", str(REPOSITORY / "config"), "--config-name", config),
        f"common.user_dir={REPOSITORY / 'user_dir'}",
        *overrides,
    ]


def logged(output: str, tag: str = "train_inner") -> list:
    """The json records that fairseq logged under `tag`, numbers as floats."""
    marker = f"[{tag}][INFO] - "
    records = [line.split(marker, 1)[1] for line in output.splitlines() if marker in line]
    return [
        {key: float(value) for key, value in json.loads(record).items()}
        for record in records
        if record.startswith("{")
    ]
