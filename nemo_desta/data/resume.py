"""Batches that know their number, so that a resumed run sees exactly those that an uninterrupted one would.

NeMo 3.0 hides the sampler from Lightning: every epoch has the same order, and a resumed one begins anew. Here each batch
carries its number in the pass (`draw`), the trainer notes the number of the last one whose optimizer step is done, and after
a resume the batches up to there are sampled again, in the same order, without reading any audio.
"""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from lhotse import CutSet
from lhotse.dataset.dataloading import worker_init_fn
from lhotse.dataset.sampling.base import CutSampler
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from nemo_desta.data.budget import within
from nemo_desta.data.conversation import RenderingTokenizer
from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.errors import AudioError, RenderError

__all__ = ["DataProgress", "EpochLoader", "EpochSampler", "Stream", "resumable"]

_LOG = logging.getLogger(__name__)
_AHEAD = 4
"""Batches that a trainer may draw ahead of training; Lightning draws one."""


@dataclass
class DataProgress:
    """Where the training data stand; what a checkpoint says of them.

    Attributes:
        epoch: passes begun before this one. A stream without end begins a new one only where it is shared anew.
        trained: batches of this pass whose optimizer step is done: of all ranks together, for streams of this rank.
        length: batches of this pass, once known.
        ranks, workers: among how many this pass is shared; for JSONL, the ranks with which it was begun.
        data: the configuration of the data, to tell when it has changed.
        seen: as trained, for batches whose optimizer step may be to come; not in checkpoints.
    """

    epoch: int = 0
    trained: int = 0
    length: int | None = None
    ranks: int = 1
    workers: int = 0
    data: str = ""
    seen: int = 0

    def note(self, draw: int, stepped: bool) -> None:
        """A batch has been through training.

        Args:
            draw: its number.
            stepped: whether the optimizer step that it belongs to is done.
        """
        self.seen = draw
        if stepped:
            self.trained = draw

    def begin(self, ranks: int, workers: int) -> None:
        """Go to the next pass if this one is used up, and note how a new one is shared."""
        if self.length is not None and self.trained >= self.length:
            self.next_pass()
        if self.trained == 0:
            self.ranks, self.workers = ranks, workers
        self.seen = self.trained

    def next_pass(self) -> None:
        self.epoch, self.trained, self.seen, self.length = self.epoch + 1, 0, 0, None


class EpochSampler(torch.utils.data.Sampler):
    """Deals the batches of a Lhotse sampler out to the ranks, from where training stands to the end of the pass.

    The sequence of batches is the same on every rank and for any number of ranks, so a run can be resumed on another
    number. A rank for which the last round has no batch gets an empty one, in place of which the dataset gives a filler.

    Args:
        sampler: gives all batches, on every rank the same.
        progress: shared with the data module, which saves it.
        rank, ranks: of this process, of all.
    """

    def __init__(self, sampler: CutSampler, progress: DataProgress, rank: int = 0, ranks: int = 1) -> None:
        self.sampler, self.progress, self.rank, self.ranks = sampler, progress, rank, ranks

    def __iter__(self) -> Iterator[tuple[int, CutSet]]:
        batches = _batches(self.sampler, self.progress.epoch, self.progress.ranks)
        drawn = sum(1 for _ in islice(batches, self.progress.trained))
        if drawn:
            _LOG.info("pass %d goes on after its first %d batches.", self.progress.epoch + 1, drawn)
        dealt = list(islice(batches, self.ranks))
        while dealt:
            drawn += len(dealt)
            following = list(islice(batches, self.ranks))
            if not following:
                self.progress.length = drawn
            yield drawn, dealt[self.rank] if self.rank < len(dealt) else CutSet([])
            dealt = following


class Stream(IterableDataset):
    """Batches of a sampler that lives in each worker; the workers give theirs in turn. None for one that was trained.

    Args:
        sampler, dataset: as NeMo made them.
        progress: as it is when the workers start.
    """

    def __init__(self, sampler: CutSampler, dataset: DeSTADataset, progress: DataProgress) -> None:
        super().__init__()
        self.sampler, self.dataset, self.progress = sampler, dataset, progress

    def __iter__(self) -> Iterator[dict | None]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for number, cuts in enumerate(_batches(self.sampler, self.progress.epoch)):
            draw = number * workers + worker + 1
            yield {**self.dataset[cuts], "draw": draw} if draw > self.progress.trained else None


class _Numbered(torch.utils.data.Dataset):
    """A dataset whose batches carry their number."""

    def __init__(self, dataset: DeSTADataset) -> None:
        self.dataset = dataset

    def __getitem__(self, item: tuple[int, CutSet]) -> dict:
        draw, cuts = item
        return {**self.dataset[cuts], "draw": draw}


class EpochLoader:
    """Training batches of one rank, from where training stands to the end of the pass.

    A filler, in place of a batch in which nothing could be read, is passed over unless other ranks wait for this one. When
    iterated again in mid-pass (Lightning's `limit_train_batches`), it goes on, with what was drawn and not trained first.

    Args:
        loader: made by `resumable`.
        progress: shared with the data module.
        tokenizer: counts the records that were skipped.
        ranks: processes that share the data.

    Raises:
        RenderError: every record was skipped.
        AudioError: nothing of two passes could be read.
    """

    def __init__(self, loader: DataLoader, progress: DataProgress, tokenizer: RenderingTokenizer, ranks: int) -> None:
        self.loader, self.progress, self.tokenizer, self.ranks = loader, progress, tokenizer, ranks
        self.close()

    def close(self) -> None:
        """End the workers; the next iteration starts new ones."""
        self._live: Iterator[dict] | None = None
        self._ahead: deque[dict] = deque()

    def __iter__(self) -> Iterator[dict]:
        for _ in range(2):  # the rest of a pass may hold nothing that can be read
            given = False
            for batch in self._rest():
                given = True
                yield batch
            self.close()
            self._check()
            if given:
                return
            self.progress.next_pass()
        raise AudioError("none of the training data can be read; see the ids logged above, and mend them.")

    def _rest(self) -> Iterator[dict]:
        ahead = [batch for batch in self._ahead if batch["draw"] > self.progress.seen]
        if self._live is None or len(ahead) == _AHEAD:  # there may have been more
            self.progress.begin(self.ranks, self.loader.num_workers)
            self._live, ahead = iter(self.loader), []
        self._ahead = deque(ahead, maxlen=_AHEAD)
        yield from ahead
        last = None
        for batch in self._live:
            last = batch and batch["draw"]
            if batch is not None and (batch["ids"] or self.ranks > 1):
                self._ahead.append(batch)
                yield batch
        self.progress.length = last or self.progress.length

    def _check(self) -> None:
        tally = self.tokenizer.tally
        if tally.skipped and tally.skipped == tally.seen:
            raise RenderError(f"the training data gave no batch ({tally.summary()}); raise max_tokens.")
        if tally.skipped:
            _LOG.warning("training data so far: %s.", tally.summary())


def _batches(sampler: CutSampler, epoch: int, ranks: int = 1) -> Iterator[CutSet]:
    """The batches of one pass within their token budget.

    With buckets, `ranks` batches in a row come from one, so that the ranks of a step have like work.
    """
    sampler.set_epoch(epoch)
    sampler.world_size = ranks  # what Lhotse's bucketer goes by when iter() makes it
    batches = iter(sampler)  # Lhotse's samplers are their own iterators, and each iter() of one starts anew
    sampler.world_size = 1
    while (batch := next(batches, None)) is not None:
        yield from within(getattr(sampler, "constraint", None), batch)


def resumable(loader: DataLoader, progress: DataProgress, rank: int, ranks: int) -> DataLoader:
    """NeMo's loader with numbered batches."""
    common = {"batch_size": None, "num_workers": loader.num_workers, "pin_memory": loader.pin_memory}
    if isinstance(loader.dataset, IterableDataset):
        stream = Stream(loader.dataset.sampler, loader.dataset.dataset, progress)
        seed = loader.worker_init_fn.keywords["seed"]
        return DataLoader(stream, worker_init_fn=partial(_start, progress, rank, ranks, seed), **common)
    return DataLoader(_Numbered(loader.dataset), sampler=EpochSampler(loader.sampler, progress, rank, ranks), **common)


def _start(progress: DataProgress, rank: int, ranks: int, seed: int, worker: int) -> None:
    """NeMo's seeding of a worker, told of all ranks, for sources divide their shards among them."""
    worker_init_fn(worker, rank=rank, world_size=ranks, seed=seed + progress.epoch)
