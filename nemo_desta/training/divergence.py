"""What happens when a loss or a gradient is no number: the records are named, kept for a look, and the weights stay clean."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from nemo_desta.errors import TrainingError
from nemo_desta.models.parallel import whole
from nemo_desta.training.config import NonFiniteConfig

__all__ = ["NonFiniteGuard"]

_LOG = logging.getLogger(__name__)
_SCALED = "16-mixed"


class NonFiniteGuard(Callback):
    """Looks at the gradients before each optimizer step. DDP has averaged them: what one rank meets, all ranks see.

    With 16-mixed such a step is normal now and then: the scaler leaves it out and lowers its scale. There the policy is
    skip, whatever the options say.

    Args:
        options: what to do.
        folder: gets the first such step: `step_<n>_rank_<r>.pt` with its batches and the trainable weights, for
            `torch.load(..., weights_only=True)`.

    Raises:
        TrainingError: by the policy.
    """

    def __init__(self, options: NonFiniteConfig, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.in_a_row = 0
        self._batches: list[dict[str, Any]] = []
        self._dumped = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._batches = []
        self._batches.append(batch)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm([p.grad for p in parameters]))  # before clipping, and unscaled
        pl_module.log("gradient_norm", norm.float(), on_step=True)
        if torch.isfinite(norm):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        skips = self.options.policy == "skip" or trainer.precision == _SCALED
        self._settle(trainer, pl_module, stop=not skips or self.in_a_row > self.options.max_in_a_row)
        for parameter in parameters:
            parameter.grad = None  # the step that follows changes nothing

    def _settle(self, trainer: Trainer, pl_module: LightningModule, stop: bool) -> None:
        """Say what was met, and stop or go on."""
        step, ids = trainer.global_step + 1, [i for b in self._batches for i in b["ids"]]
        where = f"step {step}, rank {trainer.global_rank}: the gradients are not finite; records {', '.join(ids)}."
        if stop or not self._dumped:
            where += f" Batches and weights are in {self._dump(trainer, pl_module, step)}."
        if stop:
            raise TrainingError(
                f"{where} Look at these records, lower model.optimizer.lr, or set non_finite.policy=skip"
                f" (at most non_finite.max_in_a_row={self.options.max_in_a_row} steps in a row are left out)."
            )
        _LOG.warning("%s The step is left out.", where)

    def _dump(self, trainer: Trainer, pl_module: LightningModule, step: int) -> Path:
        path = self.folder / f"step_{step}_rank_{trainer.global_rank}.pt"
        self.folder.mkdir(parents=True, exist_ok=True)
        weights = {n: whole(p) for n, p in pl_module.named_parameters() if p.requires_grad}
        batches = [{k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in b.items()} for b in self._batches]
        torch.save({"step": step, "batches": batches, "weights": weights}, path)
        self._dumped = True
        return path
