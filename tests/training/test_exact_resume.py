"""Killed and started again, a streamed, mixed and bucketed run goes on as the uninterrupted one does, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from nemo_desta.data.shards import write_tar_shards
from nemo_desta.record import read_records
from nemo_desta.training.train import run

from .conftest import losses
from .two_processes import ROOT, run_two

SAVING = [
    f"exp_manager.checkpoint_callback_params.{x}"
    for x in ("every_n_train_steps=1", "every_n_epochs=null", "monitor=step", "mode=max", "save_top_k=-1")
]
STEPS = 8


@pytest.fixture(scope="module")
def streams(corpus, tmp_path_factory) -> str:
    """`data.train_ds.input_cfg` of two corpora in shards, one within a group."""
    folder, rows = tmp_path_factory.mktemp("shards"), list(read_records(corpus / "train.jsonl"))
    entries = []
    for name, chosen in (("a", rows[:8]), ("b", rows[4:])):
        write_tar_shards(chosen, corpus, str(folder / f"{name}_%d.tar"), shard_size=2)
        entries.append(f"{{type: desta, weight: 0.5, tarred_filepaths: '{folder}/{name}_{{0..3}}.tar'}}")
    return f"[{entries[0]}, {{type: group, weight: 0.5, input_cfg: [{entries[1]}]}}]"


def streamed(make_cfg, streams: str, out: Path, *overrides: str):
    cfg = make_cfg(
        out,
        f"trainer.max_steps={STEPS}",
        "trainer.val_check_interval=100",
        "trainer.accumulate_grad_batches=2",
        "trainer.gradient_clip_val=null",
        "samples.num_per_set=0",
        *SAVING,
        *overrides,
    )
    more = {"batch_size": 3, "batch_tokens": 150, "num_workers": 1, "use_bucketing": True, "num_buckets": 2}
    more |= {
        "bucket_buffer_size": 6,
        "shuffle_buffer_size": 1,
        "num_cuts_for_bins_estimate": 12,
        "quadratic_factor": 500,
    }
    cfg.data.train_ds = {"input_cfg": OmegaConf.create(streams), "shuffle": True, "seed": 1, **more}
    return cfg


def same_end(one: Path, other: Path) -> bool:
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (one, other)]
    return all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.fixture(scope="module")
def whole(corpus, streams, tmp_path_factory):
    from .conftest import training_cfg

    def make(out, *overrides):
        return OmegaConf.merge(training_cfg(corpus, out), OmegaConf.from_dotlist(list(overrides)))

    return run(streamed(make, streams, tmp_path_factory.mktemp("whole"))).log_dir


@pytest.mark.parametrize("step", [1, 3, 6])
def test_from_any_checkpoint_the_run_goes_on_bit_for_bit(make_cfg, streams, whole, tmp_path, step):
    (checkpoint,) = (whole / "checkpoints").glob(f"*step={step}.0000-epoch=0.ckpt")
    resumed = run(streamed(make_cfg, streams, tmp_path, f"exp_manager.resume_from_checkpoint='{checkpoint}'"))
    assert losses(resumed.log_dir) == losses(whole)[step:] and same_end(resumed.log_dir, whole)


def test_killed_and_started_again_it_loses_nothing(make_cfg, streams, whole, tmp_path):
    OmegaConf.save(streamed(make_cfg, streams, tmp_path), tmp_path / "cfg.yaml")
    script = ROOT / "examples" / "desta_train.py"
    command = [sys.executable, str(script), "--config-name", str(tmp_path / "cfg.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    victim = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "t" / "checkpoints").glob("*step=2.0000*")):
            assert victim.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
            time.sleep(0.05)
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
    resumed = run(OmegaConf.load(tmp_path / "cfg.yaml"))
    assert losses(resumed.log_dir) == losses(whole) and same_end(resumed.log_dir, whole)


def test_two_processes_go_on_as_they_would_have(make_cfg, streams, tmp_path):
    two = ["trainer.devices=2", "trainer.strategy=desta_ddp"]
    first = streamed(make_cfg, streams, tmp_path / "whole", *two)
    found = tmp_path / "whole" / "t" / "checkpoints"
    assert run_two(tmp_path / "1", {"whole": first}) == {"whole": ""}
    (checkpoint,) = found.glob("*step=3.0000-epoch=0.ckpt")
    second = streamed(make_cfg, streams, tmp_path / "rest", *two, f"exp_manager.resume_from_checkpoint='{checkpoint}'")
    assert run_two(tmp_path / "2", {"rest": second}) == {"rest": ""}
    one, other = (tmp_path / name / "t" for name in ("whole", "rest"))
    assert losses(other) == losses(one)[3:] and same_end(other, one)
