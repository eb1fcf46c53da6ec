"""Every precision that NeMo's users write is configured as they mean it; those that a CPU can run are run."""

import math

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from omegaconf import OmegaConf

from nemo_desta.training.strategies import StrategyConfig
from nemo_desta.training.train import _trainer_arguments, run

from .conftest import losses


@pytest.mark.parametrize(
    ("precision", "plugin", "parameters"),
    [
        ("32-true", "Precision", torch.float32),
        ("bf16-mixed", "MixedPrecision", torch.float32),
        ("bf16-true", "HalfPrecisionForAudio", torch.bfloat16),
    ],
)
def test_precision_reaches_the_plugin(precision, plugin, parameters):
    trainer = Trainer(
        **_trainer_arguments(OmegaConf.create({"accelerator": "cpu", "precision": precision}), StrategyConfig())
    )
    assert type(trainer.precision_plugin).__name__ == plugin
    module = trainer.precision_plugin.convert_module(torch.nn.Linear(2, 2))
    assert module.weight.dtype == parameters


def test_16_mixed_scales_the_loss():
    """Lightning refuses fp16 autocast on a CPU, so the arguments are looked at and the plugin is built for CUDA."""
    arguments = _trainer_arguments(OmegaConf.create({"precision": "16-mixed"}), StrategyConfig())
    assert arguments["precision"] == "16-mixed"
    assert MixedPrecision("16-mixed", "cuda").scaler is not None


@pytest.mark.requires_gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "16-mixed"])
def test_precision_trains_on_gpu(make_cfg, tmp_path, precision):
    result = run(make_cfg(tmp_path, "trainer.accelerator=gpu", "trainer.max_steps=2", f"trainer.precision={precision}"))
    assert all(math.isfinite(x) for x in losses(result.log_dir))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_half_precision_trains_on_cpu_close_to_full(make_cfg, tmp_path, precision):
    few = ["trainer.max_steps=2", "trainer.val_check_interval=2", "samples.num_per_set=0", "model.connector.dropout=0"]
    full = run(make_cfg(tmp_path / "full", *few))
    half = run(make_cfg(tmp_path / "half", *few, f"trainer.precision={precision}"))
    assert losses(half.log_dir) == pytest.approx(losses(full.log_dir), rel=0.02)
    assert losses(half.log_dir) != losses(full.log_dir)
