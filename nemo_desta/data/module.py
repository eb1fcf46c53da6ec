"""NeMo's DataModule with a training loader that reshuffles each pass and goes on exactly where a checkpoint left it."""

import logging
from dataclasses import asdict, fields
from typing import Any

from lhotse.dataset.sampling.base import CutSampler
from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config
from nemo.collections.common.data.lhotse.broadcasting import BroadcastingDataLoader
from nemo.collections.speechlm2.data.datamodule import DataModule
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, IterableDataset

from nemo_desta.data.budget import TokenBudget
from nemo_desta.data.config import is_streamed, resolve_data_cfg
from nemo_desta.data.conversation import RenderingTokenizer
from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.data.resume import DataProgress, EpochLoader, resumable
from nemo_desta.data.tally import Tally
from nemo_desta.nemo_plugin import register
from nemo_desta.rendering import Renderer

__all__ = ["DeSTADataModule"]

_LOG = logging.getLogger(__name__)


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
        self._train: EpochLoader | None = None

    def train_dataloader(self) -> BroadcastingDataLoader | None:
        """As NeMo's, without its FallbackDataset (which repeats a batch in place of an unreadable one), and resumable."""
        if "train_ds" not in self.cfg:
            return None
        self._close()
        share, train_ds = self._share(), self.cfg.train_ds
        ranks = share["num_replicas"]
        self._compare(train_ds, ranks)
        loader = self._nemo_loader(train_ds)
        if train_ds.get("batch_tokens"):
            _sampler(loader).constraint = TokenBudget(
                train_ds.batch_tokens,
                train_ds.get("batch_size"),
                train_ds.get("quadratic_factor"),
                self.dataset.packing,
            )
        numbered = resumable(loader, self.progress, share["rank"], ranks)
        self._train = EpochLoader(numbered, self.progress, self.tokenizer, ranks)
        return BroadcastingDataLoader(source=self._train, device_mesh=None)

    def teardown(self, stage: str) -> None:
        """Lightning's hook: the workers end with the training."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self.progress).items() if name != "seen"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = {field.name for field in fields(DataProgress)}
        for name in known & state.keys():
            setattr(self.progress, name, state[name])

    def _close(self) -> None:
        if self._train is not None:
            self._train.close()

    def _nemo_loader(self, train_ds: DictConfig) -> DataLoader:
        tally, self.tokenizer.tally = (
            self.tokenizer.tally,
            Tally(),
        )  # NeMo may look at records to find bounds of buckets
        loader = get_lhotse_dataloader_from_config(
            config=train_ds.copy(),
            global_rank=0,
            world_size=1,  # batches are dealt out by EpochSampler, and streams by DeSTASource
            dataset=self.dataset,
            tokenizer=self.tokenizer,
        )
        self.tokenizer.tally = tally
        return loader

    def _compare(self, train_ds: DictConfig, ranks: int) -> None:
        """Say what follows where that on which the order of the data depends is not what it was at the checkpoint."""
        progress, workers = self.progress, train_ds.get("num_workers", 0)
        about = {key: value for key, value in train_ds.items() if key not in ("num_workers", "pin_memory")}
        data = OmegaConf.to_yaml(OmegaConf.create(about), sort_keys=True)
        if progress.data and progress.data != data:
            _LOG.warning(
                "data.train_ds is not what it was when the checkpoint was written: the order of its batches differs, so "
                "records of pass %d may come again or be left out; from the next pass on all is regular.",
                progress.epoch + 1,
            )
        progress.data = data
        if is_streamed(train_ds) and progress.trained and (progress.ranks, progress.workers) != (ranks, workers):
            _LOG.warning(
                "the streams were shared by %d ranks with %d workers each, now by %d with %d: they begin anew in another "
                "order, and may repeat any of the records in the %d batches that each rank has trained since they began.",
                progress.ranks, progress.workers, ranks, workers, progress.trained,
            )  # fmt: skip
            progress.next_pass()

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


def _sampler(loader: DataLoader) -> CutSampler:
    return loader.dataset.sampler if isinstance(loader.dataset, IterableDataset) else loader.sampler
