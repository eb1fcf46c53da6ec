"""Initial values of the connector from a few training clips, see QFormerConnector.calibrate."""

import logging
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from omegaconf import DictConfig

from nemo_desta.data.clip import Clip
from nemo_desta.data.source import read_desta
from nemo_desta.errors import AudioError, ConfigError
from nemo_desta.models.desta import DeSTAModel

__all__ = ["calibrate"]

_LOG = logging.getLogger(__name__)


def calibrate(model: DeSTAModel, train_ds: DictConfig) -> None:
    """Calibrate on the first distinct clips of the training data; the same on every rank. A resumed run overwrites it.

    Args:
        model: its `connector.calibration_clips` says how many; 0 does nothing.
        train_ds: the resolved `data.train_ds` section.

    Raises:
        ConfigError: there are not two readable clips, or calibration_text has more tokens than there are queries.
    """
    wanted = model.config.connector.calibration_clips
    if not wanted:
        return
    waves = list(islice(_readable(train_ds), wanted))
    if len(waves) < 2:
        raise ConfigError(
            "model.connector.calibration_clips needs two readable clips in the training data; set it to 0."
        )
    encoder, scale = model.perception.encoder, model.config.connector.output_scale
    states = torch.cat([encoder(torch.from_numpy(w)[None], torch.tensor([len(w)])) for w in waves])
    embeddings = model.llm.get_input_embeddings().weight.float()
    spread = float(embeddings.std()) if scale in (None, "embeddings") else float(scale)
    model.perception.connector.calibrate(states, spread, _words(model, embeddings))
    _LOG.info("connector calibrated on %d clips.", len(waves))


def _words(model: DeSTAModel, embeddings: torch.Tensor) -> torch.Tensor | None:
    config = model.config.connector
    if config.calibration_text is None:
        return None
    ids = model.renderer.encode_text(config.calibration_text)
    if not 0 < len(ids) <= config.num_queries:
        raise ConfigError(
            f"model.connector.calibration_text is {len(ids)} tokens, it must be 1 to num_queries ({config.num_queries}); shorten it."
        )
    return embeddings[torch.tensor(ids)]


def _readable(train_ds: DictConfig) -> Iterator[np.ndarray]:
    seen: set[Clip] = set()
    for entry in (e for e in train_ds.input_cfg if e.get("type") == "desta"):
        for example in read_desta({**entry, "force_finite": True, "shuffle": False, "together": 1})[0]:
            for clip in set(example.clips) - seen:
                seen.add(clip)
                try:
                    yield clip.load()
                except AudioError as err:
                    _LOG.warning("not used for calibration: %s", err)
