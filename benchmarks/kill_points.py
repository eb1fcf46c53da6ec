"""A training killed at every kind of moment, started again, and held bit for bit against one that was left alone.

    python -m benchmarks.kill_points                      # about three minutes; writes docs/results/kill_points.md

Each case forks a process that trains tiny random models over twelve clips and gets its signal in the midst of a named call. The
same configuration is then run again, to the end. Compared are the final weights, and the loss of every step in the table.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.errors import PreemptedError
from nemo_desta.models import checkpoint as folders
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.record import write_records
from nemo_desta.training import checkpoints, train
from nemo_desta.training.callbacks import ExactResume, LossTables
from nemo_desta.training.divergence import NonFiniteGuard
from nemo_desta.training.samples import SampleGenerations
from tests.data_pipeline.conftest import record, tone
from tests.training.conftest import losses, training_cfg

STEPS = 8
KILL, TERM = signal.SIGKILL, signal.SIGTERM


@dataclass(frozen=True)
class Case:
    """A signal in the call number `count` of `owner.name`: before what it does, after it, or amid the bytes of a file."""

    moment: str
    owner: Any
    name: str
    count: int = 1
    when: str = "before"
    number: signal.Signals = KILL


CASES = [
    Case("models are being built", DeSTAModel, "__init__"),
    Case("all is built, before any step", LossTables, "on_train_start"),
    Case("first step, forward", DeSTAModel, "training_step"),
    Case("first step, before the optimizer", NonFiniteGuard, "on_before_optimizer_step"),
    Case("first step, after the optimizer", ExactResume, "on_train_batch_end"),
    Case("a clip of step 2 is being read", DeSTADataset, "__getitem__", 3),
    Case("step 3, forward", DeSTAModel, "training_step", 3),
    Case("step 3, after backward", NonFiniteGuard, "on_before_optimizer_step", 3),
    Case("step 3, after the optimizer, before its row", LossTables, "_append", 4),
    Case("step 3, after its row", LossTables, "_append", 4, "after"),
    Case("validation after step 2, first batch", DeSTAModel, "validation_step"),
    Case("validation after step 4, last batch", DeSTAModel, "validation_step", 4, "after"),
    Case("answers to samples", DeSTAModel, "generate"),
    Case("after the answers, before the checkpoint", SampleGenerations, "on_validation_end", 1, "after"),
    Case("first checkpoint, before its first byte", checkpoints, "write_file"),
    Case("first checkpoint, amid its bytes", torch, "save", 1, "amid"),
    Case("table of steps, begun, not in place", os, "replace", 1),
    Case("first checkpoint, written, not in place", os, "replace", 3),
    Case("second copy of the first checkpoint, amid its bytes", torch, "save", 2, "amid"),
    Case("checkpoint of step 4, amid its bytes", torch, "save", 3, "amid"),
    Case("checkpoint of step 4, in place, the former not yet removed", checkpoints, "write_file", 4, "after"),
    Case("end of the first pass over the data", DeSTAModel, "training_step", 6, "after"),
    Case("first step of the second pass", DeSTAModel, "training_step", 7),
    Case("last step, forward", DeSTAModel, "training_step", STEPS),
    Case("last checkpoint, amid its bytes", torch, "save", 7, "amid"),
    Case("final model, before it is written", folders, "save"),
    Case("final model, weights written, not in place", folders, "save_file", 1, "after"),
    Case("SIGTERM before the first step", DeSTAModel, "training_step", 1, "before", TERM),
    Case("SIGTERM in step 3", DeSTAModel, "training_step", 3, "before", TERM),
    Case("SIGTERM in a validation", DeSTAModel, "validation_step", 1, "before", TERM),
    Case("SIGTERM while a checkpoint is written", checkpoints, "write_file", 1, "before", TERM),
    Case("SIGTERM in the last step", DeSTAModel, "training_step", STEPS, "before", TERM),
]


def plant(case: Case) -> None:
    """Let this process get its signal at the moment of a case."""
    plain: Callable = getattr(case.owner, case.name)
    calls = 0

    def strike() -> None:
        os.kill(os.getpid(), case.number)
        if case.number == KILL:
            time.sleep(60)

    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != case.count:
            return plain(*args, **kwargs)
        if case.when == "before":
            strike()
        if case.when == "amid":  # torch.save(content, file)
            args[1].write(os.urandom(5000))
            args[1].flush()
            strike()
        out = plain(*args, **kwargs)
        if case.when == "after":
            strike()
        return out

    setattr(case.owner, case.name, called)


def in_child(work: Callable[[], None]) -> int:
    """Exit code of a forked process, or minus its signal; its output goes nowhere."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        if not os.environ.get("SHOW"):
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
        code = 1
        try:
            work()
            code = 0
        except PreemptedError as stop:
            code = stop.exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def configuration(corpus: Path, out: Path) -> DictConfig:
    cfg = training_cfg(corpus, out)
    more = {"trainer": {"max_steps": STEPS, "val_check_interval": 2}, "seed": 3}
    return OmegaConf.merge(cfg, more)


def steps_done(out: Path) -> int:
    table = out / "t" / "tables" / "train.csv"
    return max(0, len(table.read_text(encoding="utf-8").splitlines()) - 1) if table.exists() else 0


def equal(one: Path, other: Path) -> bool:
    first, second = (load_file(p / "t" / "model" / "model.safetensors") for p in (one, other))
    weights = first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
    return weights and losses(one / "t") == losses(other / "t")


def try_case(case: Case, corpus: Path, out: Path, whole: Path) -> tuple[str, bool]:
    """A row of the table, and whether the case was survived."""
    cfg = configuration(corpus, out)

    def stopped() -> None:
        plant(case)
        train.run(cfg)

    code = in_child(stopped)
    reached = steps_done(out)
    expected = {KILL: (-KILL,), TERM: (75, 0)}[case.number]  # 0: it was done before it looked
    again = in_child(lambda: train.run(cfg))
    good = code in expected and again == 0 and equal(out, whole)
    said = "bit for bit" if good else f"DIFFERENT (codes {code}, {again})"
    return f"| {case.moment} | {case.number.name} | {reached} | {said} |", good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="docs/results/kill_points.md", type=Path)
    parser.add_argument("--only", help="cases whose moment has this in it")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a process that has had threads of OpenMP cannot be forked
    chosen = [c for c in CASES if not options.only or options.only in c.moment]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in range(6):
            tone(folder / "clips" / f"{n}.wav", 200 + 50 * n, 0.1 + 0.02 * n)
        write_records(
            folder / "train.jsonl", [record(i, f"clips/{i // 2}.wav", "A tone." * (1 + i % 3)) for i in range(12)]
        )
        if in_child(lambda: train.run(configuration(folder, folder / "whole"))):
            sys.exit("the uninterrupted run failed; SHOW=1 shows why")
        rows = []
        for number, case in enumerate(chosen):
            rows.append(try_case(case, folder, folder / str(number), folder / "whole"))
            print(rows[-1][0], flush=True)
    survived = sum(good for _, good in rows)
    text = [
        f"{survived} of {len(rows)} moments survived: the run that was started again ended with the weights, and the losses of all",
        f"{STEPS} steps, of the run that was left alone (`python -m benchmarks.kill_points`).",
        "",
        "| moment | signal | steps in the table by then | after the restart |",
        "|---|---|---|---|",
        *(row for row, _ in rows),
        "",
    ]
    if not options.only:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(text), encoding="utf-8")
    sys.exit(survived != len(rows))


if __name__ == "__main__":
    main()
