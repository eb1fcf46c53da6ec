"""Runs training configurations one after the other in each of several processes: what torchrun starts in tests.

`run_two(folder, {"name": cfg, ...})` starts it and gives back, for each name, the error of the run or an empty text.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

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
    from nemo_desta.training.train import run

    for name in names:
        error = ""
        try:
            run(OmegaConf.load(folder / f"{name}.yaml"))
        except DeSTAError as err:
            error = f"{type(err).__name__}: {err}"
        if os.environ["RANK"] == "0":
            (folder / f"{name}.json").write_text(json.dumps(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
