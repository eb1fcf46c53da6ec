"""NeMo's DataModule with a training loader that reshuffles each epoch, resumes in mid-epoch, and repeats no batch."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
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

__all__ = ["DataProgress", "DeSTADataModule", "EpochLoader", "EpochSampler"]

_LOG = logging.getLogger(__name__)


@dataclass
class DataProgress:
    """Where the training data stand: which pass, the optimizer step at which it began, and its batches once known.

    Lightning counts an epoch as done when `max_steps` or a time limit ends a run in its middle; this does not.
    """

    epoch: int = 0
    start_step: int = 0
    length: int | None = None

    def advance(self, step: int, accumulate: int) -> int:
        """Go to the next pass if this one is used up; returns how many of its batches were trained."""
        done = (step - self.start_step) * accumulate
        if self.length is not None and done >= self.length:
            self.epoch, self.start_step, self.length = self.epoch + 1, step, None
            return 0
        return done


class EpochSampler(torch.utils.data.Sampler):
    """A Lhotse sampler that starts each pass where training stands.

    NeMo 3.0 hides the sampler from Lightning, so that every epoch has the same order and a resumed epoch begins
    anew. Here the pass seeds the shuffling, and batches already trained are skipped; no audio is read for them.

    Args:
        sampler: the sampler.
        progress: shared with the data module, which saves it.
        trained: batches of the current pass that were trained.
    """

    def __init__(self, sampler: CutSampler, progress: DataProgress, trained: Callable[[], int]) -> None:
        self.sampler, self.progress, self.trained = sampler, progress, trained

    def __iter__(self) -> Iterator[Any]:
        done, count = self.trained(), 0
        self.sampler.set_epoch(self.progress.epoch)
        batches = iter(self.sampler)  # Lhotse's samplers are their own iterators: a second iter() would start anew
        while (batch := next(batches, None)) is not None:
            count += 1
            if count > done:
                yield batch
        self.progress.length = count


class EpochLoader:
    """Training batches of one rank. A batch in which nothing could be read (None) is passed over on one process.

    Raises:
        AudioError: such a batch on several ranks, where one rank falling behind would hang the others.
        RenderError: every record was skipped.
    """

    def __init__(self, loader: torch.utils.data.DataLoader, world_size: int, tokenizer: RenderingTokenizer) -> None:
        self.loader, self.world_size, self.tokenizer = loader, world_size, tokenizer

    def __iter__(self) -> Iterator[dict]:
        for batch in self.loader:
            if batch is not None:
                yield batch
            elif self.world_size > 1:
                raise AudioError(
                    "no clip of a whole batch could be read on this rank; see the ids logged above, mend them, or use larger batches."
                )
        tally = self.tokenizer.tally
        if tally.skipped and tally.skipped == tally.seen:
            raise RenderError(f"the training data gave no batch ({tally.summary()}); raise max_tokens.")
        if tally.skipped:
            _LOG.warning("training data so far: %s.", tally.summary())


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
        dataset = DeSTADataset(renderer, pad_id, cfg.get("max_bad_share", 0.01), cfg.get("packing", False))
        super().__init__(cfg, RenderingTokenizer(renderer), dataset)
        self.progress = DataProgress()

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

    def _get_dp_rank(self) -> int:
        return self._share()["rank"]

    def _get_world_size(self) -> int:
        return self._share()["num_replicas"]

    def _share(self) -> dict[str, int]:
        """Among how many processes the data are shared, and which of them this is; the strategy alone knows."""
        strategy = getattr(self.trainer, "strategy", None)
        return getattr(strategy, "distributed_sampler_kwargs", None) or {"num_replicas": 1, "rank": 0}

    def _get_device_mesh(self) -> None:
        """Each process reads its own data, those of one tensor-parallel group the same: nothing is broadcast."""

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.progress)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self.progress, name, value)

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
            sampler=EpochSampler(loader.sampler, self.progress, self._trained),
            batch_size=None,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
        )

    def _trained(self) -> int:
        return self.progress.advance(self.trainer.global_step, self.trainer.accumulate_grad_batches)
