"""The launch files: several processes start, are told to stop, and go on under each other's checkpoints."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nemo_desta import paths
from nemo_desta.training.train import run

from .conftest import table

LAUNCH = paths.examples_dir() / "launch"
FILES = sorted(LAUNCH.iterdir())

# Two tasks as SLURM starts them; after three steps both get what --signal=USR1@120 sends.
SRUN = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path
command = [a for a in sys.argv[1:]][1:]
assert sys.argv[1] == "--kill-on-bad-exit=1"
tasks = [
    subprocess.Popen(command, env={{**os.environ, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i), "SLURM_NODEID": "0"}})
    for i in range(2)
]
rows = len(Path({table!r}).read_text().splitlines())
while any(t.poll() is None for t in tasks) and len(Path({table!r}).read_text().splitlines()) < rows + 3:
    time.sleep(0.1)
for t in tasks:
    t.send_signal(signal.SIGUSR1)
sys.exit(max(t.wait() for t in tasks))
"""


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)
def test_launch_files_are_programs_of_bash(file):
    assert os.access(file, os.X_OK)
    subprocess.run(["bash", "-n", file], check=True)


def test_several_machines_need_their_number_and_a_meeting_point():
    done = subprocess.run(["bash", LAUNCH / "torchrun_multi_node.sh"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "NODES" in done.stderr


def test_torchrun_slurm_and_one_process_go_on_from_each_other(make_cfg, tmp_path, monkeypatch):
    """Stopped under torchrun by SIGTERM, under SLURM before its time is up, and finished by one process."""
    more = ["trainer.max_steps=100000", "trainer.val_check_interval=100000", "samples.num_per_set=0"]
    cfg = make_cfg(tmp_path, *more, "data.train_ds.batch_size=1", "exp_manager.create_tensorboard_logger=false")
    OmegaConf.save(cfg, tmp_path / "cfg.yaml")
    for name, value in {"DEVICE": "cpu", "GPUS": "2", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}")

    _start_and_stop(LAUNCH / "torchrun_one_node.sh", tmp_path)
    after_torchrun = _steps(tmp_path)
    assert after_torchrun >= 3 and _last(tmp_path)

    _fake_slurm(tmp_path, monkeypatch)
    command = ["bash", LAUNCH / "slurm.sbatch", f"--config-name={tmp_path / 'cfg.yaml'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "calls").read_text() == "requeue 4711\n"
    assert "stopped by SIGUSR1" in done.stderr
    after_slurm = _steps(tmp_path)
    assert after_slurm > after_torchrun

    cfg.trainer.max_steps = after_slurm + 2
    for name in [n for n in os.environ if n.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    finished = run(cfg)
    assert [int(r["step"]) for r in table(finished.log_dir)] == list(range(1, after_slurm + 3))


def _start_and_stop(script: Path, folder: Path) -> None:
    """Start, wait for three steps, send SIGTERM to the launcher."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["bash", script, f"--config-name={folder / 'cfg.yaml'}"], stdout=log, stderr=log)
    until = time.monotonic() + 200
    while _steps(folder) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    assert process.poll() is None, (folder / "log").read_text()[-3000:]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) != 0
    assert "stopped by SIGTERM" in (folder / "log").read_text()


def _steps(folder: Path) -> int:
    file = folder / "t" / "tables" / "train.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


def _last(folder: Path) -> list[Path]:
    return list((folder / "t" / "checkpoints").glob("*last.ckpt"))


def _fake_slurm(folder: Path, monkeypatch) -> None:
    programs = {
        "srun": SRUN.format(python=sys.executable, table=str(folder / "t" / "tables" / "train.csv")),
        "scontrol": f'#!/bin/sh\necho "$@" >> {folder / "calls"}\n',
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    job = {"JOB_ID": "4711", "JOB_NAME": "nemo_desta", "JOB_NUM_NODES": "1", "NTASKS": "2", "NTASKS_PER_NODE": "2"}
    for name, value in {**job, "NODELIST": "localhost"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
