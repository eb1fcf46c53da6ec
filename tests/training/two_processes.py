"""Runs training configurations one after the other in each of several processes: what torchrun starts in tests.

`run_two(folder, {"name": cfg, ...})` starts it and gives back, for each name, the error of the run or an empty text. In a run
named `told_at_<step>` the second process gets SIGTERM in the midst of that step.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).parents[2]


def run_two(folder: Path, cases: dict[str, DictConfig], processes: int = 2, timeout: int = 900) -> dict[str, str]:
    """Train each configuration with `processes` processes over gloo, all in one launch."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cfg in cases.items():
        OmegaConf.save(cfg, folder / f"{name}.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "tests.training.two_processes", str(folder), *cases]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in cases}


def main(folder: Path, names: list[str]) -> None:
    from nemo_desta.errors import DeSTAError
    from nemo_desta.models.desta import DeSTAModel
    from nemo_desta.training.train import run

    plain = DeSTAModel.training_step
    for name in names:
        told = re.fullmatch(r"told_at_(\d+)", name)
        DeSTAModel.training_step = _told_at(int(told[1]), plain) if told else plain
        error = ""
        try:
            run(OmegaConf.load(folder / f"{name}.yaml"))
        except DeSTAError as err:
            error = f"{type(err).__name__}: {err}"
        if os.environ["RANK"] == "0":
            (folder / f"{name}.json").write_text(json.dumps(error))


def _told_at(step: int, plain: Callable) -> Callable:
    """A training step in whose midst the last process gets SIGTERM, if it is this one."""

    def training_step(self: Any, batch: dict, batch_idx: int) -> dict:
        if self.trainer.global_step == step - 1 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    return training_step


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
