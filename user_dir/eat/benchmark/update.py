"""One update of the pre-training, taken apart and timed."""

import logging
import statistics
import warnings
from contextlib import suppress
from itertools import islice
from typing import Any, Dict, List, Optional

import numpy as np
import torch

from eat import paths
from eat.nn.masking import check_masking, inverse_block_masks, num_visible_patches

from . import UpdateCase
from .measuring import TORCH_DTYPES, matmul_rate, milliseconds, peak_bytes, stopwatch, time_call


def measure_update(case: UpdateCase) -> Dict[str, Any]:
    """Time the updates of a case, part by part; a flat dict. See `compose` for errors."""
    cfg, at_start = compose(case), peak_bytes(case.device)
    update, lap = Update(cfg, case), stopwatch(case.device)
    update.trainer.criterion(update.trainer.model, update.batch)[0].backward()
    forward_bytes = peak_bytes(case.device) - at_start
    update.trainer.zero_grad()
    update.run()  # makes the optimizer's state
    update.run()
    warm_up, update_bytes = lap(), peak_bytes(case.device) - at_start
    peaks, rounds = [], []
    for _ in range(case.repeats):
        peaks.append(matmul_rate(case.device, TORCH_DTYPES[case.dtype]))
        rounds.append(update.time_parts())
    seconds = {name: [parts[name] for parts in rounds] for name in rounds[0]}
    num_clips, num_clones = cfg.dataset.batch_size, cfg.model.num_clones
    flops = step_flops(cfg.model, cfg.task.target_length, num_clips, num_clones)
    return {
        "config": case.config,
        "dtype": case.dtype,
        "device": case.device,
        "compile": str(cfg.model.compile).lower(),
        "clips": num_clips,
        "clones": num_clones,
        "frames": cfg.task.target_length,
        "settings": " ".join(case.settings),
        **summarise(seconds, flops, statistics.median(peaks), num_clips),
        "memory_gb": forward_bytes / 1e9,
        "update_memory_gb": update_bytes / 1e9,
        "warm_up_s": warm_up,
        **(milliseconds("data_wait", update.time_data_wait(case.repeats)) if case.data else {}),
        **({"profile": update.profile()} if case.profile else {}),
    }


def compose(case: UpdateCase) -> Any:
    """The configuration that `fairseq-hydra-train` would make of the case.

    Registers our tasks, models, criterions and optimizers, repairs fairseq, and keeps it quiet. A
    ValueError names a setting that does not exist.
    """
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore", category=FutureWarning, module="fairseq")
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.dataclass.initialize import add_defaults
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from eat import criterions, models, optim, tasks  # noqa: F401
    from eat.training.replacements import install

    install()
    recipe = OmegaConf.load(paths.config_dir() / f"pretrain_{case.config}.yaml")
    del recipe["hydra"]
    chosen = {
        "common.user_dir": str(paths.user_dir()),
        "common.cpu": case.device == "cpu",
        "common.bf16": case.dtype == "bf16",
        "common.fp16": case.dtype == "fp16",
        "task.data": case.data or ".",  # never opened unless there is data
        "distributed_training.distributed_world_size": 1,
        "dataset.batch_size": case.clips,
        "model.num_clones": case.clones,
        "task.target_length": case.frames,
        "model.compile": {"on": True, "off": False}.get(case.compile),
    }
    for key, value in chosen.items():
        if value is not None:
            OmegaConf.update(recipe, key, value)
    try:
        recipe = OmegaConf.merge(recipe, OmegaConf.from_dotlist(list(case.settings)))
        cfg = OmegaConf.merge(OmegaConf.structured(FairseqConfig), recipe)
        add_defaults(cfg)
    except OmegaConfBaseException as error:
        raise ValueError(f"--set: {error}") from error
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


class Update:
    """Model, criterion and optimizer as fairseq's trainer has them, and a batch of noise."""

    def __init__(self, cfg: Any, case: UpdateCase) -> None:
        from fairseq import tasks
        from fairseq.trainer import Trainer

        torch.manual_seed(cfg.common.seed)
        task = tasks.setup_task(cfg.task)
        model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
        self.trainer = Trainer(cfg, task, model, criterion)
        self.trainer.model.train()
        self.batch = random_batch(cfg, TORCH_DTYPES[case.dtype], case.device)
        self.device = case.device

    def run(self, batch: Optional[Dict[str, Any]] = None) -> None:
        """A whole update by fairseq's trainer, on the batch of noise unless one is given."""
        from fairseq.logging import metrics

        with metrics.aggregate("train_inner"):
            self.trainer.train_step([self.batch if batch is None else batch])

    def time_parts(self) -> Dict[str, float]:
        """Seconds of each part of an update, and of a whole one."""
        trainer, seconds = self.trainer, {}
        model, optimizer = trainer.model, trainer.optimizer
        lap = stopwatch(self.device)
        model.teacher(self.batch["net_input"]["source"])
        model.step_teacher(trainer.get_num_updates() + 1)
        seconds["teacher"] = lap()
        loss, sample_size, _ = trainer.criterion(model, self.batch)
        seconds["forward"] = lap()  # with the teacher's targets
        optimizer.backward(loss)
        seconds["backward"] = lap()
        del loss
        optimizer.multiply_grads(1 / sample_size)
        with suppress(OverflowError):  # fp16 looks for its scale; fairseq skips such updates too
            optimizer.clip_grad_norm(trainer.cfg.optimization.clip_norm)
            optimizer.step()
        optimizer.zero_grad()
        seconds["optimizer"] = lap()
        self.run()
        seconds["whole"] = lap()
        return seconds

    def time_data_wait(self, num_updates: int) -> List[float]:
        """Seconds that each update waits for its batch, after the first."""
        self.trainer.task.load_dataset("train")
        batches = self.trainer.get_train_iterator(epoch=1).next_epoch_itr(shuffle=True)
        waits: List[float] = []
        lap = stopwatch("cpu")
        for batch in islice(batches, num_updates + 1):
            waits.append(lap())
            self.run(batch)
            lap()
        return waits[1:] or waits

    def profile(self) -> str:
        """The operators that take longest on the device, as a table."""
        with torch.profiler.profile() as found:
            time_call(self.run, self.device)
        return found.key_averages().table(f"self_{self.device}_time_total", row_limit=25)


def random_batch(cfg: Any, dtype: torch.dtype, device: str) -> Dict[str, Any]:
    """A batch of noise, masked as the config says."""
    model, num_clips, num_frames = cfg.model, cfg.dataset.batch_size, cfg.task.target_length
    grid = (num_frames // model.patch_size, model.num_mel_bins // model.patch_size)
    check_masking(model, grid)
    generator = np.random.default_rng(cfg.common.seed)
    masks = np.stack([inverse_block_masks(model, grid, generator) for _ in range(num_clips)])
    source = torch.randn(num_clips, 1, num_frames, model.num_mel_bins) / 2
    net_input = {
        "source": source.to(device, dtype),
        "mask": torch.from_numpy(masks).to(device),
        "num_visible": num_visible_patches(model, grid[0] * grid[1]),
    }
    return {"id": torch.arange(num_clips), "nsentences": num_clips, "net_input": net_input}


def summarise(
    seconds: Dict[str, List[float]], flops: float, peak: float, num_clips: int
) -> Dict[str, float]:
    """Rates and shares out of the times of `Update.time_parts`, in its order.

    `flops` are of forward and backward; `peak` is the FLOP/s of matrix products.
    """
    teacher, forward, backward, optimizer, whole = map(np.array, seconds.values())
    step, update = np.median(forward) + np.median(backward), np.median(whole)
    return {
        "clips_per_second": num_clips / update,
        **milliseconds("update", whole),
        **milliseconds("forward", forward - teacher),  # whose time includes the teacher's
        **milliseconds("backward", backward),
        **milliseconds("optimizer", optimizer),
        **milliseconds("teacher", teacher),
        "rest_ms": 1e3 * np.median(whole - forward - backward - optimizer),
        "tflop": flops / 1e12,
        "tflops_per_second": flops / step / 1e12,
        "peak_tflops_per_second": peak / 1e12,
        "share_of_peak": flops / step / peak,
        "update_share_of_peak": flops / update / peak,
    }


def step_flops(model: Any, num_frames: int, num_clips: int, num_clones: int) -> float:
    """Floating-point operations of matrix products, forward and backward, two per multiply-add.

    The backward pass takes two products for each of the forward's; the teacher has none. What is
    computed twice to save memory does not count. `model` is the config's section.
    """
    num_patches = num_frames // model.patch_size * (model.num_mel_bins // model.patch_size)
    num_visible, width = num_visible_patches(model, num_patches), model.embed_dim
    convolution = num_patches * width * width // model.decoder_groups * model.decoder_kernel_size**2
    projection = (num_patches - num_visible) * width**2  # of the hidden patches alone
    decoder = 2 * (model.decoder_depth * convolution + projection)
    embedding = 2 * num_patches * width * model.patch_size**2
    clone = 3 * (encoder_flops(model, 1 + num_visible) + decoder)
    clip = num_clones * clone + encoder_flops(model, 1 + num_patches) + embedding
    # A mixture costs what a clip does; the teacher's look at its sources is little beside it.
    return num_clips * (1 + model.mixtures) * clip


def encoder_flops(model: Any, num_tokens: int) -> float:
    """Operations of the blocks on one row of tokens."""
    width = model.embed_dim
    linear = num_tokens * width**2 * (4 + 2 * model.mlp_ratio)  # qkv and proj, fc1 and fc2
    attention = 2 * num_tokens**2 * width  # scores, and what they weight
    return 2 * model.depth * (linear + attention)
