"""The progress bar: optimizer steps, samples seen, time left."""

import logging
import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from nemo_desta.training.callbacks import LossTables

__all__ = ["Console", "StepsBar"]


class Console(logging.Handler):
    """Log lines on standard error, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class StepsBar(ProgressBar):
    """One bar over all optimizer steps of a training, in place of Lightning's bar for each epoch: a streamed epoch has no length.

    Shown on a terminal only, by rank 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._tables: list[LossTables] = []
        self._shown = True

    @property
    def visible(self) -> bool:
        """Whether anybody can see it; if not, log lines tell the same."""
        return self._shown and sys.stderr.isatty()

    def disable(self) -> None:
        self._shown = False

    def enable(self) -> None:
        self._shown = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        total = trainer.max_steps if trainer.max_steps > 0 else None
        if total is None and trainer.num_training_batches != float("inf"):
            total = int(trainer.estimated_stepping_batches)
        self._tables = [c for c in trainer.callbacks if isinstance(c, LossTables)]
        self._bar = tqdm(
            total=total,
            initial=trainer.global_step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            disable=not self.visible,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: dict, batch: dict, batch_idx: int
    ) -> None:
        if self._bar is None or self._bar.disable or trainer.global_step == self._bar.n:
            return
        values = {"loss": f"{float(trainer.callback_metrics['loss']):.3f}"}
        if self._tables:
            values["samples"] = f"{self._tables[0].samples_seen:,}"
        self._bar.set_postfix(values, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        tqdm.write(" ".join(map(str, args)), file=sys.stderr)
