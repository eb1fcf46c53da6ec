"""NeMo's DataModule with a training loader that reshuffles each epoch, resumes in mid-epoch, and repeats no batch."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lhotse.dataset.sampling.base import CutSampler
from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config
from nemo.collections.common.data.lhotse.broadcasting import BroadcastingDataLoader, is_dp_source_rank
from nemo.collections.speechlm2.data.datamodule import DataModule
from omegaconf import DictConfig, open_dict

from nemo_desta.data.config import resolve_data_cfg
from nemo_desta.data.conversation import RenderingTokenizer
from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.errors import AudioError, RenderError
from nemo_desta.nemo_plugin import register
from nemo_desta.rendering import Renderer

__all__ = ["DeSTADataModule", "EpochLoader", "EpochSampler"]

_LOG = logging.getLogger(__name__)


class EpochSampler(torch.utils.data.Sampler):
    """A Lhotse sampler that starts each pass where the trainer stands.

    NeMo 3.0 hides the sampler from Lightning, so that every epoch has the same order and a resumed epoch begins
    anew. Here each pass asks for (epoch, batches already trained), seeds the shuffling with the epoch, and skips
    those batches; no audio is read for them.
    """

    def __init__(self, sampler: CutSampler, position: Callable[[], tuple[int, int]]) -> None:
        self.sampler, self.position = sampler, position

    def __iter__(self) -> Iterator[Any]:
        epoch, done = self.position()
        self.sampler.set_epoch(epoch)
        batches = iter(self.sampler)  # Lhotse's samplers are their own iterators: a second iter() would start anew
        while (batch := next(batches, None)) is not None:
            if done > 0:
                done -= 1
            else:
                yield batch


class EpochLoader:
    """Training batches of one rank. A batch in which nothing could be read (None) is passed over on one process.

    Raises:
        AudioError: such a batch on several ranks, where one rank falling behind would hang the others.
        RenderError: a first pass without a single batch.
    """

    def __init__(self, loader: torch.utils.data.DataLoader, world_size: int, tokenizer: RenderingTokenizer) -> None:
        self.loader, self.world_size, self.tokenizer = loader, world_size, tokenizer
        self._fruitful = False

    def __iter__(self) -> Iterator[dict]:
        for batch in self.loader:
            self._fruitful = True
            if batch is not None:
                yield batch
            elif self.world_size > 1:
                raise AudioError("no clip of a whole batch could be read on this rank; see the ids logged above, mend them, or use larger batches.")
        if not self._fruitful:
            raise RenderError(f"the training data gave no batch ({self.tokenizer.tally.summary()}); raise max_tokens, or check the records.")
        if self.tokenizer.tally.skipped:
            _LOG.warning("training data so far: %s.", self.tokenizer.tally.summary())


class DeSTADataModule(DataModule):
    """NeMo's DataModule over DeSTA conversations.

    Args:
        cfg: the `data` section, see `resolve_data_cfg`.
        renderer: the model's renderer.
        pad_id: the model's padding id.
    """

    def __init__(self, cfg: DictConfig | dict, renderer: Renderer, pad_id: int) -> None:
        register()
        cfg = resolve_data_cfg(cfg)
        dataset = DeSTADataset(renderer, pad_id, cfg.get("max_bad_share", 0.01))
        super().__init__(cfg, RenderingTokenizer(renderer), dataset)
        self._epoch_start = (0, 0)
        """Epoch, and the optimizer step at which it began."""

    def train_dataloader(self) -> BroadcastingDataLoader | None:
        """As NeMo's, without its FallbackDataset (which repeats a batch in place of an unreadable one)."""
        if "train_ds" not in self.cfg:
            return None
        mesh, source = self._get_device_mesh(), None
        if is_dp_source_rank(mesh):
            world_size = self._get_world_size()
            loader = get_lhotse_dataloader_from_config(
                config=self._seeded(self.cfg.train_ds),
                global_rank=self._get_dp_rank(),
                world_size=world_size,
                dataset=self.dataset,
                tokenizer=self.tokenizer,
            )
            source = EpochLoader(self._resumable(loader), world_size, self.tokenizer)
        return BroadcastingDataLoader(source=source, device_mesh=mesh)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch_start": list(self._epoch_start)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epoch_start = tuple(state["epoch_start"])

    def _seeded(self, loader: DictConfig) -> DictConfig:
        """Streams cannot be wound forward: a resumed run draws from a new order, the same for the same step."""
        loader = loader.copy()
        if loader.shard_seed == "randomized":
            with open_dict(loader):
                loader.seed = loader.seed + self.trainer.global_step
        return loader

    def _resumable(self, loader: torch.utils.data.DataLoader) -> torch.utils.data.DataLoader:
        if isinstance(loader.dataset, torch.utils.data.IterableDataset):
            return loader
        return torch.utils.data.DataLoader(
            loader.dataset,
            sampler=EpochSampler(loader.sampler, self._position),
            batch_size=None,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
        )

    def _position(self) -> tuple[int, int]:
        """Epoch about to be read, and how many of its batches on this rank have been trained."""
        epoch, step = self.trainer.current_epoch, self.trainer.global_step
        if epoch != self._epoch_start[0]:
            self._epoch_start = (epoch, step)
        return epoch, (step - self._epoch_start[1]) * self.trainer.accumulate_grad_batches
