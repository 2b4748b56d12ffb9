"""The same numbers on a GPU: a recorded training step, real training runs in half precision."""

import os

import pytest
import torch
from helpers import logged

import eat
from eat.criterions.ufo import ufo_losses
from eat.nn.decoder import DecoderLayer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float32, 1e-3), (torch.bfloat16, 3e-2), (torch.float16, 1e-2)]
)
def test_the_recorded_step(golden, official_pretrain, dtype, tolerance):
    model = eat.load_pretraining_model(official_pretrain, mask_noise_std=0.0).cuda().to(dtype)
    mask = golden("mask").bool().view(2, 4, 64).cuda()
    output = model(source=golden("source").cuda().to(dtype), mask=mask)
    losses = ufo_losses(output)
    (losses.frame_sum + losses.utterance_sum).backward()
    assert losses.frame_sum.item() == pytest.approx(
        golden("loss_IMAGE_regression").item(), rel=tolerance
    )
    utterance_sum = golden("loss_cls").item() / losses.num_masked
    assert losses.utterance_sum.item() == pytest.approx(utterance_sum, rel=3 * tolerance)
    found = output["frame_targets"].float().cpu()
    error = (found - golden("frame_target")).norm() / golden("frame_target").norm()
    assert error < tolerance


def test_a_hooked_convolution_is_called():
    """Groups of 48 channels are widened, unless somebody hooked the layer."""
    torch.manual_seed(0)
    layer, x, calls = DecoderLayer(96, 3, 2).cuda(), torch.randn(2, 4, 8, 96).cuda(), []
    expected = layer(x)
    layer.conv.register_forward_hook(lambda *args: calls.append(1))
    assert torch.allclose(layer(x), expected, atol=1e-3)
    assert calls == [1]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_training_in_half_precision(train, tmp_path, precision):
    """The loss falls, and a run that was interrupted goes on where it was."""
    overrides = [f"common.{precision}=true", "optimization.max_update=40"]
    overrides += ["lr_scheduler.warmup_updates=10", "checkpoint.save_interval_updates=20"]
    interrupted = [*overrides[:1], "optimization.max_update=20", *overrides[2:]]
    for settings in (interrupted, overrides):
        run = train(*settings, env={**os.environ, "CUDA_VISIBLE_DEVICES": "0"})
        assert run.returncode == 0, run.stdout
    losses = {int(line["num_updates"]): line["frame_loss"] for line in logged(run.stdout)}
    assert min(losses) == 21
    assert losses[40] < 7.2  # 8.2 untrained; 6.9 on a CPU
    model = eat.load_pretraining_model(tmp_path / "checkpoints" / "checkpoint_last.pt")
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_fine_tuning_in_half_precision(train, labelled, tmp_path, official_pretrain, precision):
    """Every block keeps its own learning rate, and three tones are told apart."""
    overrides = [
        *(f"common.{precision}=true", f"model.init_from='{official_pretrain}'"),
        *("optimization.max_update=60", "lr_scheduler.warmup_updates=6", "model.layer_decay=0.5"),
        *("optimization.lr=[0.005]", "dataset.num_workers=2", "dataset.validate_interval=20"),
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    run = train(*overrides, config="finetune_tiny", data=labelled, env=environment)
    assert run.returncode == 0, run.stdout
    assert logged(run.stdout, "valid")[-1]["valid_accuracy"] > 0.8
    state = torch.load(tmp_path / "checkpoints" / "checkpoint_last.pt", weights_only=True)
    groups = state["last_optimizer_state"]["param_groups"]
    assert {group["lr_scale"] for group in groups} == {1.0, 0.5, 0.25, 0.125}
    assert all(torch.isfinite(value).all() for value in state["model"].values())
