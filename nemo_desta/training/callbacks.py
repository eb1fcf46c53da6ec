"""Callbacks: resume that repeats nothing, loss tables, and the proof that frozen weights stayed frozen."""

import csv
import logging
import time
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed.tensor import DTensor

from nemo_desta.errors import CheckpointError

__all__ = ["ExactResume", "FrozenGuard", "LossTables"]

_LOG = logging.getLogger(__name__)


class ExactResume(Callback):
    """Makes a resumed run go on as the uninterrupted one would.

    Lightning saves the last batch of a step checkpoint as not completed, or the next as begun, which shifts gradient accumulation and
    validation by one after each resume, and saves no state of the random generators. Here all batches up to the last
    optimizer step are counted, and each batch seeds dropout from (seed, step, part of the step, rank), so that there
    is no state to save.

    Args:
        seed: of dropout.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        offsets = torch.randint(2**31, (3,), generator=generator).tolist()
        place = (trainer.global_step, batch_idx % trainer.accumulate_grad_batches, _data_rank(trainer))
        torch.manual_seed(sum(a * (2 * b + 1) for a, b in zip(offsets, place, strict=True)) + self.seed)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict, batch_idx: int
    ) -> None:
        if "draw" in batch:
            trainer.datamodule.progress.note(batch["draw"], stepped=trainer.global_step != self._step)
        self._step = trainer.global_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        processed = progress["current"]["processed"]
        begun = 0 if progress["is_last_batch"] else processed % trainer.accumulate_grad_batches
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(("ready", "started", "processed", "completed"), counts["processed"] - begun))


def _data_rank(trainer: Trainer) -> int:
    """Which share of the data is trained here; processes that cut one LLM among them drop the same, too."""
    return (getattr(trainer.strategy, "distributed_sampler_kwargs", None) or {"rank": 0})["rank"]


class LossTables(Callback):
    """Writes `train.csv` (a row a step) and `validation.csv` (a row a metric), logs throughput, and tells of it now and then.

    The tables survive a resume: rows after the step resumed from are dropped, the others kept. Samples and target tokens
    are those of all ranks.

    Args:
        folder: where the tables go.
        every_n_steps: steps between log lines; 0 for none, where a progress bar tells the same.
    """

    TRAIN = ("step", "epoch", "loss", "learning_rate", "step_seconds", "total_seconds", "samples", "target_tokens")
    VALIDATION = ("step", "metric", "value")

    def __init__(self, folder: Path, every_n_steps: int = 10) -> None:
        self.folder, self.every_n_steps = folder, every_n_steps
        self._counts: list[torch.Tensor] = []
        self._before = 0.0
        """Seconds of earlier runs, carried on in the last row."""
        self.samples_seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = self._last = time.monotonic()
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = _keep_rows(self.folder / "train.csv", self.TRAIN, trainer.global_step)
        validated = _keep_rows(self.folder / "validation.csv", self.VALIDATION, trainer.global_step)
        self._validated = int(validated[-1]["step"]) if validated else 0  # Lightning validates again where it resumes
        self._full = False
        self.samples_seen = sum(int(row["samples"]) for row in rows)
        if rows:
            self._before = float(rows[-1]["total_seconds"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: dict, batch: dict, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero:
            return
        self._counts.append(outputs["counts"])
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        samples, tokens = (round(c) for c in torch.stack(self._counts).sum(0).tolist())
        self._counts = []
        self.samples_seen += samples
        speed = {"samples_per_second": samples / seconds, "target_tokens_per_second": tokens / seconds}
        pl_module.log_dict(speed, on_step=True, rank_zero_only=True)
        loss, rate = (float(trainer.callback_metrics[k]) for k in ("loss", "learning_rate"))
        total = self._before + now - self._started
        row = (
            trainer.global_step,
            trainer.current_epoch,
            f"{loss:.9g}",
            f"{rate:.6g}",
            f"{seconds:.4f}",
            f"{total:.3f}",
        )
        self._append("train.csv", (*row, samples, tokens))
        if self.every_n_steps and (trainer.global_step % self.every_n_steps == 0 or trainer.global_step == 1):
            self._tell(trainer, loss, rate, seconds, samples)

    def _tell(self, trainer: Trainer, loss: float, rate: float, seconds: float, samples: int) -> None:
        known = trainer.max_steps > 0
        done = f"{trainer.global_step}/{trainer.max_steps}" if known else str(trainer.global_step)
        left = f", {(trainer.max_steps - trainer.global_step) * seconds / 60:.0f} min left" if known else ""
        numbers = (done, loss, rate, seconds, samples / seconds, self.samples_seen, left)
        _LOG.info("step %s: loss %.4f, lr %.2e, %.2f s a step, %.1f samples/s, %d samples seen%s", *numbers)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        values = {k: float(v) for k, v in sorted(trainer.callback_metrics.items()) if k.startswith("val_")}
        for name, value in values.items() if trainer.global_step != self._validated else ():
            self._append("validation.csv", (trainer.global_step, name, f"{value:.9g}"))
        _LOG.info("step %d: %s", trainer.global_step, ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
        self._last = time.monotonic()

    def _append(self, name: str, row: tuple) -> None:
        """Add a row; a disk that takes none is told once, and no reason to stop: a checkpoint is."""
        try:
            with (self.folder / name).open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(row)
        except OSError as err:
            if not self._full:
                _LOG.error("%s: rows are missing from here on (%s); make room.", self.folder / name, err)
            self._full = True


class FrozenGuard(Callback):
    """Compares the frozen weights' bytes before and after training.

    Raises:
        CheckpointError: at the end, if a frozen weight changed.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = _frozen_hashes(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        after = _frozen_hashes(pl_module)
        changed = sorted(n for n in self._before.keys() | after.keys() if self._before.get(n) != after.get(n))
        if changed:
            raise CheckpointError(
                f"{len(changed)} frozen weights changed in training, the first is {changed[0]}: this is a bug, discard the run."
            )
        _LOG.info("the %d frozen weights are byte for byte what they were.", len(after))


def _frozen_hashes(module: LightningModule) -> dict[str, int]:
    frozen = {n: p for n, p in module.named_parameters() if not p.requires_grad}
    local = {
        n: p.to_local() if isinstance(p, DTensor) else p for n, p in frozen.items()
    }  # of a shard: this process' part
    return {n: zlib.crc32(p.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()) for n, p in local.items()}


def _keep_rows(path: Path, columns: tuple[str, ...], last_step: int) -> list[dict[str, str]]:
    """Rewrite a table with its rows up to `last_step`; returns them."""
    rows: list[dict[str, str]] = []
    if path.exists() and last_step > 0:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [r for r in csv.DictReader(file) if r["step"].isdigit() and int(r["step"]) <= last_step]
    whole = path.with_name(f".{path.name}.tmp")
    with whole.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    whole.replace(path)
    return rows
