"""NeMo's DataModule with a training loader that reshuffles each pass and goes on exactly where a checkpoint left it."""

import logging
from dataclasses import asdict, fields
from typing import Any

from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config
from nemo.collections.common.data.lhotse.broadcasting import BroadcastingDataLoader
from nemo.collections.speechlm2.data.datamodule import DataModule
from omegaconf import DictConfig, OmegaConf, open_dict

from nemo_desta.data.config import resolve_data_cfg
from nemo_desta.data.conversation import RenderingTokenizer
from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.data.resume import DataProgress, EpochLoader, resumable
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

    def train_dataloader(self) -> BroadcastingDataLoader | None:
        """As NeMo's, without its FallbackDataset (which repeats a batch in place of an unreadable one), and resumable."""
        if "train_ds" not in self.cfg:
            return None
        share = self._share()
        rank, ranks = share["rank"], share["num_replicas"]
        loader = get_lhotse_dataloader_from_config(
            config=self._fresh_order(self.cfg.train_ds, ranks),
            global_rank=0,
            world_size=1,  # batches are dealt out by EpochSampler, and streams by DeSTASource
            dataset=self.dataset,
            tokenizer=self.tokenizer,
        )
        numbered = resumable(loader, self.progress, rank, ranks)
        return BroadcastingDataLoader(source=EpochLoader(numbered, self.tokenizer, ranks), device_mesh=None)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.progress)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = {field.name for field in fields(DataProgress)}
        for name in known & state.keys():
            setattr(self.progress, name, state[name])

    def _fresh_order(self, loader: DictConfig, ranks: int) -> DictConfig:
        """Note what the order of the data depends on. Where that changed since the checkpoint, say what follows."""
        progress, data = self.progress, OmegaConf.to_yaml(loader, sort_keys=True)
        streamed, workers = loader.shard_seed == "randomized", loader.get("num_workers", 0)
        if progress.data and progress.data != data:
            _LOG.warning(
                "data.train_ds is not what it was when the checkpoint was written: the order of its batches differs, so "
                "records of pass %d may come again or be left out; from the next pass on all is regular.",
                progress.epoch + 1,
            )
        if streamed and progress.trained and (progress.ranks, progress.workers) != (ranks, workers):
            _LOG.warning(
                "the streams were shared by %d ranks with %d workers each, now by %d with %d: they begin anew in another "
                "order, and may repeat any of the records in the %d batches that each rank has trained.",
                progress.ranks, progress.workers, ranks, workers, progress.trained,
            )  # fmt: skip
            progress.turn, progress.trained = progress.turn + 1, 0
        progress.ranks, progress.workers, progress.data = ranks, workers, data
        loader = loader.copy()
        if streamed:
            with open_dict(loader):
                loader.seed = loader.seed + progress.turn
        return loader

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
