"""What several test modules share: paths, tiny audio, training commands and their logs."""

import json
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from eat.data.events import write_events
from eat.data.labels import Label, write_descriptors, write_labels
from eat.data.manifest import Manifest

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
    "lr_scheduler.warmup_updates=0",
    "common.log_interval=1",
]

TONES_HZ = {"low": 300, "middle": 800, "high": 2000}
# The miniature of MINIATURE for fine-tuning, from scratch.
MINIATURE_CLASSIFIER = [
    "model.init_from=null",
    "model.embed_dim=48",
    "model.depth=2",
    "model.num_heads=4",
    "dataset.batch_size=8",
    "dataset.batch_size_valid=8",
    "dataset.num_workers=0",
    "dataset.data_buffer_size=0",
    "optimization.max_update=3",
    "lr_scheduler.warmup_updates=0",
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


def write_labelled_split(folder: Path, split: str, classes: list, seed: int = 0) -> None:
    """Write tones in noise, one clip per entry of `classes`, as `{split}.tsv` and `{split}.lbl`.

    An entry is the clip's classes, of "low", "middle" and "high" tones, which sound together.
    """
    generator = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    entries = []
    for index, names in enumerate(classes):
        num_samples = int(generator.uniform(0.5, 1.5) * 16_000)
        time = np.arange(num_samples) / 16_000
        clip = 0.05 * generator.standard_normal(num_samples)
        for name in names:
            clip += 0.2 * np.sin(2 * np.pi * TONES_HZ[name] * generator.uniform(0.9, 1.1) * time)
        soundfile.write(folder / "audio" / f"{split} {index}.wav", clip, 16_000)
        entries.append((f"{split} {index}.wav", num_samples))
    write_tsv(folder / f"{split}.tsv", folder / "audio", entries)
    labels = {name: Label(i, f"/t/{i}", f"{name} tone") for i, name in enumerate(TONES_HZ)}
    clips = (
        (entry[0], [labels[n].id for n in c]) for entry, c in zip(entries, classes, strict=True)
    )
    write_labels(folder / f"{split}.lbl", clips)
    write_descriptors(folder / "label_descriptors.csv", list(labels.values()))


def write_timed_split(folder: Path, split: str, num_clips: int, seed: int = 0) -> None:
    """Write tones in noise, each for a part of its clip, as `{split}.tsv` and `{split}.events.tsv`.

    Clips last 0.8 to 1.5 s. Each has up to two tones of 0.2 to 0.6 s, the first has none.
    """
    generator = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    labels = [Label(i, f"/t/{i}", f"{name} tone") for i, name in enumerate(TONES_HZ)]
    entries, events = [], []
    for index in range(num_clips):
        num_samples = int(generator.uniform(0.8, 1.5) * 16_000)
        time = np.arange(num_samples) / 16_000
        clip = 0.02 * generator.standard_normal(num_samples)
        for _ in range(min(index, generator.integers(1, 3))):
            label = labels[generator.integers(3)]
            onset = generator.uniform(0, time[-1] - 0.2)
            offset = min(onset + generator.uniform(0.2, 0.6), num_samples / 16_000)
            tone = 0.3 * np.sin(2 * np.pi * list(TONES_HZ.values())[label.index] * time)
            clip += tone * ((onset <= time) & (time < offset))
            events.append((f"{split} {index}.wav", onset, offset, label.id))
        soundfile.write(folder / "audio" / f"{split} {index}.wav", clip, 16_000)
        entries.append((f"{split} {index}.wav", num_samples))
    write_tsv(folder / f"{split}.tsv", folder / "audio", entries)
    write_events(folder / f"{split}.events.tsv", events)
    write_descriptors(folder / "label_descriptors.csv", labels)


def write_mp3_without_length(
    path: Path, samples: np.ndarray, sample_rate_hz: int, **kwargs
) -> None:
    """Write an mp3, by default of variable rate, without the frame that tells how long it is."""
    kwargs = {"bitrate_mode": "VARIABLE", "compression_level": 0.5, **kwargs}
    soundfile.write(path, samples, sample_rate_hz, format="MP3", **kwargs)
    data = path.read_bytes()
    assert b"Xing" in data[:64] or b"Info" in data[:64]
    path.write_bytes(data[data.index(data[:2], 2) :])  # every frame starts alike


def write_zip(path, files):
    """An uncompressed zip of files; returns the address of each."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.name)
    data, addresses = path.read_bytes(), []
    for file in files:
        addresses.append(f"{path}:{data.index(file.read_bytes())}:{file.stat().st_size}")
    return addresses


def pack_clips(manifest_file: Path, out: Path, kind: str) -> None:
    """Put the clips of a manifest into one pack in `out`: "zip" (`eat manifest pack`) or "hdf5"."""
    import h5py

    from eat.commands.main import main

    if kind == "zip":
        assert main(["manifest", "pack", str(manifest_file), "--out", str(out)]) == 0
        return
    manifest, entries = Manifest(manifest_file), []
    pack = f"{Path(manifest_file).stem}-00000.h5"
    out.mkdir(parents=True, exist_ok=True)
    with h5py.File(out / pack, "w") as file:
        for clip, name in enumerate(manifest.relative_paths()):
            samples, rate_hz = soundfile.read(manifest.path(clip), dtype="float32")
            file[name] = samples
            file[name].attrs["sample_rate"] = rate_hz
            entries.append((f"{pack}/{name}", manifest.clip_samples(clip)))
    write_tsv(out / Path(manifest_file).name, Path("."), entries)


def write_tsv(path: Path, root: Path, entries: list) -> None:
    lines = [str(root), *(f"{name}\t{num_samples}" for name, num_samples in entries)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_splits(folder: Path, num_train: int, num_valid: int) -> Path:
    """Write clips to `folder / "audio"`, listed in train.tsv and valid.tsv; returns the folder."""
    entries = write_clips(folder / "audio", num_train + num_valid)
    write_tsv(folder / "train.tsv", folder / "audio", entries[:num_train])
    write_tsv(folder / "valid.tsv", folder / "audio", entries[num_train:])
    return folder


def private_bytes(data, queue) -> None:
    """Puts what this process alone holds in memory, and the last path of a data set it was given.

    Here, as a process that is not forked can import this module only.
    """
    path = data.manifest.path(int(data.clips[-1]))
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        fields = [line.split() for line in file]
    queue.put((sum(int(f[1]) * 1024 for f in fields if f[0] == "Private_Dirty:"), path))


def compose(config: str, **overrides):
    """The configuration as fairseq's hydra entry point makes it, without hydra."""
    # Here, because the tests that run without fairseq import this module too.
    from fairseq.dataclass.initialize import add_defaults
    from omegaconf import OmegaConf

    cfg = OmegaConf.load(REPOSITORY / "config" / f"{config}.yaml")
    del cfg["hydra"]
    cfg.common.user_dir = "user_dir"
    for key, value in overrides.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    add_defaults(cfg)
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


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
        {k: float("nan" if v is None else v) for k, v in json.loads(record).items()}
        for record in records
        if record.startswith("{")
    ]


@contextmanager
def locked_elsewhere(path: Path):
    """Meanwhile another process holds the lock of a path."""
    code = "import sys; from eat.files import lock_file\n" + (
        "with lock_file(sys.argv[1]): print(flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as process:
        assert process.stdout.readline()
        yield process
        process.stdin.close()
