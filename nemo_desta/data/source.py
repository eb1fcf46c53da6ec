"""The `input_cfg` type `desta`: records from JSONL files, tar shards or Lhotse Shar as a lazy Lhotse CutSet."""

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import torch
from lhotse import CutSet
from lhotse.dataset.dataloading import resolve_seed

from nemo_desta.data.clip import Clip
from nemo_desta.data.conversation import ConversationGroup, DeSTAConversation
from nemo_desta.data.shar import read_shar, shar_shards
from nemo_desta.data.shards import expand_paths, read_shard
from nemo_desta.errors import ConfigError, RecordError
from nemo_desta.record import Record, read_records, resolve_audio

__all__ = ["FILE_KEYS", "DeSTAInputConfig", "DeSTASource", "read_desta"]

Form = Literal["jsonl", "tar", "shar"]
FILE_KEYS: dict[str, Form] = {"manifest_filepath": "jsonl", "tarred_filepaths": "tar", "shar_path": "shar"}
"""The keys of an entry that name its files, and the form of those."""


@dataclass
class DeSTAInputConfig:
    """One entry of `input_cfg` with `type: desta`. Exactly one of the three file keys is given."""

    type: str = "desta"
    manifest_filepath: Any = None
    """JSONL file(s) of records: a path, a list, or a pattern. Sampled in the training process, one pass an epoch."""
    tarred_filepaths: Any = None
    """Tar shard(s) as written by write_tar_shards. Streamed by the workers, without end in training."""
    shar_path: Any = None
    """Lhotse Shar folder(s) as written by `nemo-desta pack format=shar`. Streamed like tar shards."""
    audio_root: str | None = None
    """Folder of the clips named in a JSONL file; the file's own folder by default."""
    max_length: int | None = None
    """Longest sequence in tokens; longer records are skipped and counted. The set's max_tokens by default."""
    together: int = 1
    """Up to so many neighbouring records about the same clips are sampled as one example: their clips are encoded once,
    and batch_size counts such groups. Costs some variety within a batch."""
    weight: float | None = None
    """Share of this entry in a mix; all entries have one or none has. A mix has no end: each entry begins again when it is
    used up. With `force_finite: true` in train_ds a pass of JSONL entries gives every record once, and weights say how early."""
    tags: Any = None
    """Attributes put on each conversation."""


class DeSTASource:
    """Re-iterable source of conversations.

    In a worker process of a streaming loader, shards are divided among workers and ranks: each is read once a pass.

    Args:
        paths: JSONL files, tar shards, or the cut files of Shar folders.
        form: which of the three.
        audio_root: for JSONL, see DeSTAInputConfig.
        max_length: see DeSTAInputConfig.
        together: see DeSTAInputConfig.
        shuffle: whether the order of the files changes with each pass.
        seed: an int, or NeMo's "trng" or "randomized".
    """

    def __init__(
        self,
        paths: list[str],
        form: Form = "jsonl",
        audio_root: str | None = None,
        max_length: int | None = None,
        together: int = 1,
        shuffle: bool = False,
        seed: int | str = 0,
    ) -> None:
        self.paths, self.form, self.audio_root = paths, form, audio_root
        self.max_length, self.together, self.shuffle, self.seed = max_length, together, shuffle, seed
        self._passes = 0

    @property
    def streamed(self) -> bool:
        """Whether the files are read inside the workers, each by one of them."""
        return self.form != "jsonl"

    def __iter__(self) -> Iterator[DeSTAConversation | ConversationGroup]:
        paths, empty = self._own_paths(), True
        for path in paths:
            for example in self._conversations(path) if self.together == 1 else self._groups(path):
                empty = False
                yield example
        if empty:
            raise RecordError(f"no record in {', '.join(paths[:5])}; there is nothing to train on.")

    def _conversations(self, path: str) -> Iterator[DeSTAConversation]:
        for record, clips in self._read(path):
            yield DeSTAConversation(record, clips, where=path, max_length=self.max_length)

    def _groups(self, path: str) -> Iterator[ConversationGroup]:
        for clips, neighbours in groupby(self._conversations(path), key=lambda c: c.clips):
            size = self.together if clips else 1
            while members := list(islice(neighbours, size)):
                yield ConversationGroup(members)

    def _own_paths(self) -> list[str]:
        paths = list(self.paths)
        worker = torch.utils.data.get_worker_info()
        if self.streamed and worker is not None:
            rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
            parts, own = world * worker.num_workers, rank * worker.num_workers + worker.id
            if len(paths) < parts:
                raise ConfigError(
                    f"{len(paths)} shards for {world} ranks with {worker.num_workers} workers each; "
                    "write smaller shards, or lower num_workers."
                )
            paths = paths[own::parts]
        if self.shuffle and self.streamed:
            random.Random(resolve_seed(self.seed) + self._passes).shuffle(paths)
            self._passes += 1
        return paths

    def _read(self, path: str) -> Iterator[tuple[Record, tuple[Clip, ...]]]:
        if self.streamed:
            yield from read_shard(path) if self.form == "tar" else read_shar(path)
            return
        root = self.audio_root or Path(path).parent
        for record in read_records(path):
            try:
                clips = tuple(Clip(str(resolve_audio(root, a.audio))) for a in record.audios)
            except RecordError as err:
                raise RecordError(f"{path}: record {record.id}: {err}") from err
            yield record, clips


def read_desta(config: Mapping[str, Any]) -> tuple[CutSet, bool]:
    """NeMo's parser for one `input_cfg` entry.

    Returns:
        The conversations, and whether they are to be streamed inside the workers (tar shards, Shar).

    Raises:
        ConfigError: none or several of the file keys are given.
        RecordError: a Shar folder is missing or holds no cuts.
    """
    given = [key for key in FILE_KEYS if config.get(key) is not None]
    if len(given) != 1:
        raise ConfigError(
            "an input_cfg entry of type desta needs one of manifest_filepath (JSONL), tarred_filepaths (tar) and shar_path "
            f"(Lhotse Shar), and not both; given: {', '.join(given) or 'none'}."
        )
    paths = expand_paths(config[given[0]])
    source = DeSTASource(
        shar_shards(paths) if given == ["shar_path"] else paths,
        form=FILE_KEYS[given[0]],
        audio_root=config.get("audio_root"),
        max_length=config.get("max_length"),
        together=config.get("together", 1),
        shuffle=config.get("shuffle", False),
        seed=config.get("shard_seed", 0),
    )
    cuts = CutSet(source)
    endless = source.streamed or config.get("force_iterable_dataset", False)
    if endless and not config.get("force_finite", False):
        cuts = cuts.repeat(preserve_id=True)
    return cuts, source.streamed
