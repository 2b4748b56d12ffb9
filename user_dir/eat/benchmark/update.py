"""One update of the pre-training, taken apart and timed; runs in a process of its own."""

import logging
import statistics
import warnings
from typing import TYPE_CHECKING, Any, Callable, Dict, List

import numpy as np
import torch

from eat import paths
from eat.commands.benchmark.report import flatten
from eat.nn.masking import count_visible, inverse_block_masks

from .flops import count_flops
from .machine import DTYPES, MatmulPeak, PeakMemory, median_and_minimum, synchronise, time_call

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from fairseq.trainer import Trainer

    from eat.commands.benchmark.train import Case

NUM_PROFILED = 25  # operators


def measure_update(case: "Case") -> Dict[str, Any]:
    """Time the updates of a case; a flat dict for the report."""
    import_fairseq()
    cfg = compose(case)
    memory = PeakMemory(case.device)
    trainer = build_trainer(cfg)
    batch = random_batch(cfg, DTYPES[case.dtype], case.device)
    update = Update(trainer, batch, case.device)
    update.forward()
    update.loss.backward()  # without the optimizer, which is made when it is first needed
    forward_memory = memory.growth
    trainer.zero_grad()
    update.whole()
    update.whole()
    update_memory = memory.growth

    peak = MatmulPeak(case.device, DTYPES[case.dtype])
    times = [_time_parts(update, peak, case.device) for _ in range(case.repeats)]
    seconds = {name: [parts[name] for parts in times] for name in times[0]}
    flops = count_flops(cfg.model, cfg.task.target_length).step(
        cfg.dataset.batch_size, cfg.model.num_clones
    )
    found = {
        **describe_case(case, cfg),
        **summarise(seconds, flops, peak.flops_per_second, cfg.dataset.batch_size),
        "memory_gb": forward_memory / 1e9,
        "update_memory_gb": update_memory / 1e9,
    }
    if case.data:
        found["data_wait_ms"] = median_and_minimum(time_data_wait(trainer, case.repeats))
    if case.profile:
        found["profile"] = profile(update.whole, case.device)
    return flatten(found)


def compose(case: "Case") -> Any:
    """The configuration that `fairseq-hydra-train` would make of the case.

    Raises:
        ValueError: a setting that does not exist.
    """
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.dataclass.initialize import add_defaults
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

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


def import_fairseq() -> None:
    """Register our tasks, models, criterions and optimizers, and keep fairseq quiet; slow."""
    import fairseq.trainer

    logging.getLogger().setLevel(logging.WARNING)  # a task of fairseq set it to DEBUG
    warnings.filterwarnings("ignore", category=FutureWarning, module="fairseq")

    from eat import criterions, models, optim, tasks

    assert all((fairseq.trainer, criterions, models, optim, tasks))


def build_trainer(cfg: Any) -> "Trainer":
    """Model, criterion and optimizer as `fairseq-hydra-train` makes them."""
    from fairseq import tasks
    from fairseq.trainer import Trainer

    torch.manual_seed(cfg.common.seed)
    task = tasks.setup_task(cfg.task)
    trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
    return trainer


def random_batch(cfg: Any, dtype: torch.dtype, device: str) -> Dict[str, Any]:
    """A batch of noise, masked as the config says."""
    model = cfg.model
    grid = (cfg.task.target_length // model.patch_size, model.num_mel_bins // model.patch_size)
    generator = np.random.default_rng(cfg.common.seed)
    num_clips = cfg.dataset.batch_size
    masks = np.stack([inverse_block_masks(model, grid, generator) for _ in range(num_clips)])
    source = torch.randn(num_clips, 1, cfg.task.target_length, model.num_mel_bins) / 2
    net_input = {
        "source": source.to(device, dtype),
        "mask": torch.from_numpy(masks).to(device),
        "num_visible": count_visible(torch.from_numpy(masks).flatten(0, 1)),
    }
    return {"id": torch.arange(num_clips), "nsentences": num_clips, "net_input": net_input}


class Update:
    """The parts of an update, in the order in which they are to be called."""

    def __init__(self, trainer: "Trainer", batch: Dict[str, Any], device: str) -> None:
        self.trainer = trainer
        self.batch = batch
        self.device = device
        trainer.model.train()

    def teacher(self) -> None:
        """The teacher's targets, and its step."""
        model = self.trainer.model
        model.teacher(self.batch["net_input"]["source"])
        model.step_teacher(self.trainer.get_num_updates() + 1)

    def forward(self) -> None:
        """Everything up to the loss, the teacher's targets included."""
        trainer = self.trainer
        self.loss, self.sample_size, _ = trainer.criterion(trainer.model, self.batch)

    def backward(self) -> None:
        """Gradients of all parameters."""
        self.trainer.optimizer.backward(self.loss)
        del self.loss

    def optimize(self) -> None:
        """Scale and clip the gradients, change the parameters, clear the gradients."""
        optimizer = self.trainer.optimizer
        optimizer.multiply_grads(1 / self.sample_size)
        try:
            optimizer.clip_grad_norm(self.trainer.cfg.optimization.clip_norm)
            optimizer.step()
        except OverflowError as error:  # fp16 looks for its scale; fairseq skips such updates too
            logger.info("skipped an update: %s", error)
        optimizer.zero_grad()

    def whole(self) -> None:
        """All of it, by fairseq's trainer."""
        from fairseq.logging import metrics

        with metrics.aggregate("train_inner"):
            self.trainer.train_step([self.batch])


def _time_parts(update: Update, peak: MatmulPeak, device: str) -> Dict[str, float]:
    """Seconds of each part, once."""
    peak.measure()
    parts: Dict[str, Callable[[], Any]] = {
        "teacher": update.teacher,
        "forward": update.forward,
        "backward": update.backward,
        "optimizer": update.optimize,
        "update": update.whole,
    }
    return {name: time_call(part, device) for name, part in parts.items()}


def summarise(
    seconds: Dict[str, List[float]], flops: float, peak: float, num_clips: int
) -> Dict[str, Any]:
    """Rates and shares out of the times of the parts.

    Args:
        seconds: of `teacher`, `forward` (with the teacher's), `backward`, `optimizer`, `update`.
        flops: of forward and backward.
        peak: FLOP/s of matrix products.
        num_clips: B.
    """
    usual = {name: statistics.median(values) for name, values in seconds.items()}
    step = usual["forward"] + usual["backward"]
    num_rounds = len(seconds["update"])
    rounds = [{name: values[i] for name, values in seconds.items()} for i in range(num_rounds)]
    student = [parts["forward"] - parts["teacher"] for parts in rounds]
    shown = {**seconds, "forward": student}
    return {
        "clips_per_second": num_clips / usual["update"],
        **{f"{name}_ms": median_and_minimum(values) for name, values in shown.items()},
        "rest_ms": 1e3
        * statistics.median(
            parts["update"] - parts["forward"] - parts["backward"] - parts["optimizer"]
            for parts in rounds
        ),
        "tflop": flops / 1e12,
        "tflops_per_second": flops / step / 1e12,
        "peak_tflops_per_second": peak / 1e12,
        "share_of_peak": flops / step / peak,
        "update_share_of_peak": flops / usual["update"] / peak,
    }


def describe_case(case: "Case", cfg: Any) -> Dict[str, Any]:
    """The sizes of a case, with what the config filled in."""
    return {
        "config": case.config,
        "dtype": case.dtype,
        "device": case.device,
        "compile": str(cfg.model.get("compile", False)).lower(),
        "clips": cfg.dataset.batch_size,
        "clones": cfg.model.num_clones,
        "frames": cfg.task.target_length,
        "settings": " ".join(case.settings),
    }


def time_data_wait(trainer: "Trainer", repeats: int) -> List[float]:
    """Seconds that each update waits for its batch, after the first."""
    trainer.task.load_dataset("train")
    batches = trainer.get_train_iterator(epoch=1).next_epoch_itr(shuffle=True)
    waits = []
    for _ in range(repeats + 1):
        if not batches.has_next():
            break
        batch: List[Dict[str, Any]] = []
        waits.append(time_call(lambda batch=batch: batch.append(next(batches))))
        trainer.train_step(batch)
    return waits[1:] or waits


def profile(function: Callable[[], Any], device: str) -> str:
    """The operators of a call that take longest on the device, as a table."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as found:
        function()
        synchronise(device)
    order = f"self_{device}_time_total"
    return found.key_averages().table(sort_by=order, row_limit=NUM_PROFILED)
