"""A run that is told to stop, by a signal or by its time limit, saves a checkpoint and ends; the same command goes on from it.

One way for CPU and GPU, one process and many, SLURM or not: NeMo 3.0's own callback needs CUDA and a process group, and the
handlers of Lightning's SLURM environment save at any moment, in the midst of a step.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from datetime import timedelta
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from nemo_desta.errors import ConfigError, PreemptedError

__all__ = ["Preemption", "time_limit"]

_LOG = logging.getLogger(__name__)
_REQUEUE = signal.SIGUSR1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, _REQUEUE)
_training = False
"""Whether processes forked now are a training's loader processes."""


class Preemption(Callback):
    """Looks between optimizer steps whether any process was told to stop.

    SIGTERM, or Ctrl-C once: save and end. SIGUSR1, which `#SBATCH --signal=USR1@120` sends before the time of a job is up: save, put the job
    back into SLURM's queue, and end. A signal during a validation is obeyed after it.

    Args:
        limit: time after which this run is to end, too.

    Raises:
        PreemptedError: from within `Trainer.fit`, on all processes, once the checkpoint is written.
    """

    def __init__(self, limit: timedelta | None = None) -> None:
        self._until = None if limit is None else time.monotonic() + limit.total_seconds()
        self._reason = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        _mark_training(True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        _mark_training(False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        _mark_training(False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in _SIGNALS:  # Lightning puts the former handlers back when it is done
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._reason == signal.SIGINT.name:
            raise KeyboardInterrupt
        self._reason = signal.Signals(number).name
        again = "; Ctrl-C again ends it at once" if number == signal.SIGINT else ""
        _LOG.info("%s: the run ends after this step, with a checkpoint%s.", self._reason, again)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if self._until is not None and time.monotonic() > self._until:
            self._reason = self._reason or "its time limit"
        if trainer.strategy.reduce_boolean_decision(bool(self._reason), all=False):
            requeue = trainer.strategy.reduce_boolean_decision(self._reason == _REQUEUE.name, all=False)
            self._end(trainer, requeue)

    def _end(self, trainer: Trainer, requeue: bool) -> None:
        step, reason = trainer.global_step, self._reason or "another process"
        saved = step > 0 and _save(trainer)
        if requeue and trainer.is_global_zero:
            _requeue()
        kept = "a checkpoint is written" if saved else "nothing was there to save"
        raise PreemptedError(
            f"stopped by {reason} at step {step}; {kept}. The same command goes on from there (exp_manager.resume_if_exists=true)."
        )


def time_limit(text: str | timedelta | None) -> timedelta | None:
    """`exp_manager.max_time_per_run`, days:hours:minutes:seconds such as "00:03:50:00".

    Raises:
        ConfigError: it is written otherwise.
    """
    if text is None or isinstance(text, timedelta):
        return text
    parts = str(text).split(":")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        raise ConfigError(
            f"exp_manager.max_time_per_run is {text!r}; write days:hours:minutes:seconds, as 00:03:50:00."
        )
    days, hours, minutes, seconds = map(int, parts)
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _save(trainer: Trainer) -> bool:
    """Write the run's last checkpoint, which is what a run resumes from."""
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint):
        return False
    callback.save_last = True
    callback._save_last_checkpoint(trainer, callback._monitor_candidates(trainer))
    return True


def _requeue() -> None:
    """Put this SLURM job back into the queue; it begins again with the same script."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
        _LOG.info("job %s is back in the queue.", job)
    except (OSError, subprocess.CalledProcessError) as err:
        _LOG.error(
            "job %s could not be put back into the queue (%s); submit it again.", job, getattr(err, "stderr", "") or err
        )


# -- loader processes ---------------------------------------------------------------------------------------------
# SLURM sends its signals to all processes of a job, and Ctrl-C goes to all of a terminal. A loader process that ended
# there would take the training with it, before its checkpoint is written.


def _mark_training(under_way: bool) -> None:
    global _training
    _training = under_way


def _leave_signals() -> None:
    """In a loader process: go on, for the step that is to be finished may need it; end when the parent says so."""
    if not _training or not hasattr(signal, "sigwaitinfo"):  # macOS, which starts loader processes without fork
        return
    for number in (signal.SIGINT, _REQUEUE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(parent: int) -> None:
    """End at the parent's SIGTERM, as torch has it where a loader process does not end by itself."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


os.register_at_fork(after_in_child=_leave_signals)
