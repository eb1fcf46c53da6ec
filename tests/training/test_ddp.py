"""Two processes over gloo do what one process does with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from nemo_desta import paths
from nemo_desta.training.train import run

from .conftest import losses, table

FEW = [
    "trainer.max_steps=4",
    "trainer.val_check_interval=4",
    "samples.num_per_set=1",
    "model.connector.dropout=0",
    "data.train_ds.shuffle=true",
]


def two_processes(cfg, folder: Path) -> Path:
    """Run the example script; Lightning starts the second process itself."""
    OmegaConf.save(cfg, folder / "two.yaml")
    command = [sys.executable, str(paths.examples_dir() / "desta_train.py"), "--config-name", str(folder / "two.yaml")]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "t"


def test_two_processes_agree_with_one_on_the_same_global_batch(make_cfg, tmp_path):
    """Batches of two on two ranks against batches of four; the ranks hold different numbers of target tokens."""
    one = run(make_cfg(tmp_path / "one", *FEW, "data.train_ds.batch_size=4"))
    two = two_processes(make_cfg(tmp_path, *FEW, "trainer.devices=2", "trainer.strategy=desta_ddp"), tmp_path)
    assert losses(two) == pytest.approx(losses(one.log_dir), abs=1e-5)
    assert len(losses(two)) == 4
    validation = [[float(row["value"]) for row in table(log_dir, "validation")] for log_dir in (two, one.log_dir)]
    assert validation[0] == pytest.approx(validation[1], abs=1e-5)
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (two, one.log_dir)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-4)  # AdamW makes steps of rounding noise
