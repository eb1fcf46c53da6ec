"""A run that is told to stop saves itself, ends at once, and goes on as if nothing had happened."""

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from omegaconf import OmegaConf
from safetensors.torch import load_file

from nemo_desta import cli
from nemo_desta.errors import ConfigError, PreemptedError, TrainingError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.training import folder, preemption
from nemo_desta.training.train import run

from .conftest import losses, table

STEPS = ("trainer.max_steps=6", "trainer.val_check_interval=2", "trainer.accumulate_grad_batches=1")
PLAIN_STEP = DeSTAModel.training_step


@pytest.fixture
def told(monkeypatch):
    """`told(step, number)`: the process gets a signal in the midst of that step."""

    def at(step, number=signal.SIGTERM):
        def training_step(self, batch, batch_idx):
            if step is not None and self.trainer.global_step == step - 1:
                os.kill(os.getpid(), number)
            return PLAIN_STEP(self, batch, batch_idx)

        monkeypatch.setattr(DeSTAModel, "training_step", training_step)

    return at


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "t" / "model" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory):
    from .conftest import training_cfg

    out = tmp_path_factory.mktemp("whole")
    run(OmegaConf.merge(training_cfg(corpus, out), OmegaConf.from_dotlist(list(STEPS))))
    return out


@pytest.mark.parametrize("step", [1, 3, 4])
def test_told_to_stop_it_ends_with_the_step_and_goes_on_bit_for_bit(uninterrupted, make_cfg, tmp_path, told, step):
    """At once, between validations, and in a step after which validation is due."""
    told(step)
    with pytest.raises(PreemptedError, match=f"SIGTERM at step {step}; a checkpoint is written"):
        run(make_cfg(tmp_path, *STEPS))
    assert not (tmp_path / "t" / "model").exists(), "nothing says that training is complete"
    assert len(table(tmp_path / "t")) == step
    told(None)
    run(make_cfg(tmp_path, *STEPS))
    assert same(tmp_path, uninterrupted)
    assert losses(tmp_path / "t") == losses(uninterrupted / "t")
    assert table(tmp_path / "t", "validation") == table(uninterrupted / "t", "validation")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_loader_processes_outlive_a_signal_to_the_whole_job(make_cfg, tmp_path, monkeypatch, number):
    """As a terminal and SLURM send it; the step that is to be finished needs one more batch of theirs."""
    reached = []

    def training_step(self, batch, batch_idx):
        if self.trainer.global_step == 1 and not reached:
            reached.extend(p.pid for p in multiprocessing.active_children())
            everyone = map(str, (*reached, os.getpid()))
            subprocess.run(["kill", f"-{number.value}", *everyone], check=True)  # from without, as it comes
            time.sleep(0.5)
        return PLAIN_STEP(self, batch, batch_idx)

    monkeypatch.setattr(DeSTAModel, "training_step", training_step)
    more = ("trainer.accumulate_grad_batches=2", "data.train_ds.num_workers=1", "data.train_ds.batch_size=1")
    with pytest.raises(PreemptedError, match=f"{number.name} at step 2; a checkpoint is written"):
        run(make_cfg(tmp_path, "trainer.max_steps=6", *more))
    assert reached
    time.sleep(0.5)
    assert not multiprocessing.active_children(), "they end with the training"


def test_ctrl_c_saves_and_twice_ends_at_once(make_cfg, tmp_path, told, monkeypatch):
    told(2, signal.SIGINT)
    with pytest.raises(PreemptedError, match="SIGINT at step 2; a checkpoint"):
        run(make_cfg(tmp_path, *STEPS))

    def twice(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return PLAIN_STEP(self, batch, batch_idx)

    monkeypatch.setattr(DeSTAModel, "training_step", twice)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(make_cfg(tmp_path, *STEPS))


def test_a_step_of_several_batches_is_finished_first(make_cfg, tmp_path, told):
    told(2)
    several = ("trainer.max_steps=3", "trainer.accumulate_grad_batches=2")
    with pytest.raises(PreemptedError, match="step 2"):
        run(make_cfg(tmp_path, *several))
    told(None)
    run(make_cfg(tmp_path, *several))
    run(make_cfg(tmp_path / "whole", *several))
    assert same(tmp_path, tmp_path / "whole")


def test_the_command_ends_with_a_code_that_says_try_again(make_cfg, tmp_path, told):
    told(2)
    OmegaConf.save(make_cfg(tmp_path, *STEPS), tmp_path / "cfg.yaml")
    code = cli._run(["train", "--config-name", str(tmp_path / "cfg.yaml")])
    assert code == 75


def test_the_time_limit_of_a_run_saves_and_goes_on(uninterrupted, make_cfg, tmp_path, monkeypatch):
    """The clock goes a minute a look: the second look, after the first step, is too late."""
    times = iter(range(0, 10**6, 60))
    with monkeypatch.context() as patch:
        patch.setattr(preemption, "time", SimpleNamespace(monotonic=lambda: next(times)))
        with pytest.raises(PreemptedError, match="time limit at step 1; a checkpoint"):
            run(make_cfg(tmp_path, *STEPS, "exp_manager.max_time_per_run='00:00:01:30'"))
    run(make_cfg(tmp_path, *STEPS))
    assert same(tmp_path, uninterrupted)


def test_a_time_limit_that_is_none_is_refused_before_anything_is_built(make_cfg, tmp_path):
    with pytest.raises(ConfigError, match="days:hours:minutes:seconds"):
        run(make_cfg(tmp_path, "exp_manager.max_time_per_run=4h"))


def test_before_the_time_of_a_slurm_job_is_up_it_goes_back_into_the_queue(make_cfg, tmp_path, told, monkeypatch):
    calls = _scontrol(tmp_path, monkeypatch)
    told(2, signal.SIGUSR1)
    with pytest.raises(PreemptedError, match="SIGUSR1 at step 2"):
        run(make_cfg(tmp_path, *STEPS))
    assert calls.read_text() == "requeue 17\n"


def test_sigterm_alone_leaves_the_queue_alone(make_cfg, tmp_path, told, monkeypatch):
    """SLURM sends it when the job is cancelled, too."""
    calls = _scontrol(tmp_path, monkeypatch)
    told(2)
    with pytest.raises(PreemptedError):
        run(make_cfg(tmp_path, *STEPS))
    assert not calls.exists()


def test_a_queue_that_refuses_is_told_and_loses_nothing(make_cfg, tmp_path, told, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    told(2, signal.SIGUSR1)
    with pytest.raises(PreemptedError, match="a checkpoint is written"):
        run(make_cfg(tmp_path, *STEPS))
    assert "submit it again" in caplog.text


def _scontrol(folder: Path, monkeypatch) -> Path:
    """A `scontrol` that writes down its arguments; returns the file."""
    (folder / "bin").mkdir()
    calls = folder / "calls"
    program = folder / "bin" / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    return calls


def test_signals_are_left_as_they_were(make_cfg, tmp_path):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    run(make_cfg(tmp_path, "trainer.max_steps=1"))
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


# -- one run in a folder ------------------------------------------------------------------------------------------


def test_the_folder_that_is_held_is_the_one_that_is_written_to(make_cfg, tmp_path):
    cfg = make_cfg(tmp_path, "trainer.max_steps=1")
    assert folder.run_folder(cfg.exp_manager) == run(cfg).log_dir


def test_runs_that_do_not_resume_get_folders_of_their_own(make_cfg, tmp_path):
    assert folder.run_folder(make_cfg(tmp_path, "exp_manager.resume_if_exists=false").exp_manager) is None


def test_two_runs_in_one_folder_are_refused_and_the_first_is_left_alone(make_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_WAIT", 0.6)
    run(make_cfg(tmp_path, "trainer.max_steps=2"))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "t").rglob("*.*") if p.is_file() and p.name != ".lock"}
    holder = subprocess.Popen(["flock", str(tmp_path / "t" / ".lock"), "sleep", "30"])
    try:
        time.sleep(0.5)
        with pytest.raises(TrainingError, match=r"exp_manager\.name"):
            run(make_cfg(tmp_path, "trainer.max_steps=4"))
    finally:
        holder.kill()
    after = {p: p.stat().st_mtime_ns for p in before}
    assert before == after


def test_a_lock_that_a_dead_run_left_for_a_moment_is_waited_for(make_cfg, tmp_path):
    (tmp_path / "t").mkdir()
    held = (tmp_path / "t" / ".lock").open("a+")
    fcntl.flock(held, fcntl.LOCK_EX)
    child = subprocess.Popen(["sleep", "2"], pass_fds=[held.fileno()])  # as a loader's process has it
    held.close()
    assert run(make_cfg(tmp_path, "trainer.max_steps=1")).step == 1
    child.wait()


# -- a full disk --------------------------------------------------------------------------------------------------


def test_tables_and_answers_that_find_no_room_do_not_end_a_training(make_cfg, tmp_path, monkeypatch, caplog):
    plain_open, plain_write = Path.open, Path.write_text

    def full(method):
        def refuse(self, *args, **kwargs):
            if self.suffix in (".csv", ".txt") and args[:1] != ("r",) and ("a" in args[:1] or method is plain_write):
                raise OSError(errno.ENOSPC, "No space left on device", str(self))
            return method(self, *args, **kwargs)

        return refuse

    monkeypatch.setattr(Path, "open", full(plain_open))
    monkeypatch.setattr(Path, "write_text", full(plain_write))
    done = run(make_cfg(tmp_path, "trainer.max_steps=4"))
    assert done.step == 4 and (done.model_dir / "model.safetensors").exists()
    said = [r.getMessage() for r in caplog.records if "make room" in r.getMessage()]
    assert len(said) == 1 and "train.csv" in said[0]
    assert any("cannot be written" in r.getMessage() for r in caplog.records)


def test_every_verb_tells_its_code(monkeypatch):
    """A DeSTAError carries the code that its command ends with."""

    def stop(*args, **kwargs):
        raise PreemptedError("stopped")

    monkeypatch.setattr(cli, "_function", lambda module, name: stop)
    done = CliRunner().invoke(cli.console, ["selfgen-merge", "."], obj={"debug": False})
    assert isinstance(done.exception, PreemptedError) and PreemptedError.exit_code == 75
    assert preemption.time_limit("01:02:03:04").total_seconds() == 93784
