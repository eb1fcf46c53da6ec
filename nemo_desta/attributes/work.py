"""The measuring pass: batches of cuts to rows of the work log, in one process or several."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.utils import fastcopy

from nemo_desta.attributes.config import AttributesConfig
from nemo_desta.attributes.labellers import Clip, load_labellers
from nemo_desta.attributes.loading import load_cut
from nemo_desta.attributes.measure import Background, frame_levels, measure
from nemo_desta.attributes.spans import Fields, annotate, digest_of, spans_of
from nemo_desta.audio import SAMPLING_RATE
from nemo_desta.errors import AudioError, SelfGenError
from nemo_desta.quiet import quiet_known_noise

__all__ = ["Measurer", "audio_root", "measured"]

Batch = Sequence[tuple[str, Any]]
"""(unique name, cut) of several cuts."""


def audio_root(config: AttributesConfig) -> Path:
    """The folder that audio paths are relative to."""
    first = config.cuts if isinstance(config.cuts, str) else config.cuts[0]
    return Path(config.audio_root or Path(first).parent)


class _Span:
    """A supervision, or a whole cut, while it is worked on."""

    def __init__(self, cut: Any, supervision: Any, audio: np.ndarray, levels: np.ndarray, floor: Background) -> None:
        self.cut, self.supervision, self.audio, self.levels, self.background = cut, supervision, audio, levels, floor
        self.labels: dict[str, Any] = {}


class Measurer:
    """Measures and labels batches of cuts; holds the models of the labellers.

    Args:
        config: checked.

    Raises:
        ConfigError: the seed mapping or a labeller is missing or wrong.
    """

    def __init__(self, config: AttributesConfig) -> None:
        self.root = audio_root(config)
        self.fields = Fields(config.seed_config)
        self.labellers = load_labellers(config.labellers)
        self.domain, self.overwrite = config.domain, config.overwrite

    def __call__(self, batch: Batch) -> list[dict[str, Any]]:
        """One row for each cut: `id`, `status` (ok, failed), `reason`, `digest` of the cut, and of each of its spans
        `domain`, `labels` (fields that labellers found) and `measures`.

        Raises:
            SelfGenError: a labeller failed.
        """
        rows, spans = [], []
        for name, cut in batch:
            row = {"id": name, "status": "ok", "reason": None, "digest": digest_of(cut)}
            own: list[_Span] = []
            try:
                own = self._open(cut)
            except (AudioError, SelfGenError) as err:
                row |= {"status": "failed", "reason": f"cut {cut.id!r}: {err}"}
            rows.append((row, own))
            spans += own
        for labeller in self.labellers:
            self._label(labeller, spans)
        return [{**row, "spans": [self._finish(span) for span in own]} for row, own in rows]

    def _open(self, cut: Any) -> list[_Span]:
        spans = spans_of(cut)
        for supervision in spans:
            self.fields.domain(cut, supervision)  # refuses times and values that self-generation would refuse
        audio = load_cut(cut, self.root)
        heard: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray, Background]] = {}
        opened = []
        for supervision in spans:
            channels = _channels(cut, supervision)
            if channels not in heard:
                mono = audio[list(channels)].mean(axis=0)
                levels = frame_levels(mono)
                heard[channels] = (mono, levels, Background.of(levels))
            mono, _, background = heard[channels]
            part = mono if supervision is None else mono[_samples(supervision)]
            span = _Span(cut, supervision, part, frame_levels(part) if len(part) else np.zeros(0), background)
            stated = self.fields.stated(cut, supervision)
            if self.domain and self.fields.domain_field not in stated:
                span.labels[self.fields.domain_field] = self.domain
            opened.append(span)
        return opened

    def _label(self, labeller: Any, spans: list[_Span]) -> None:
        heard = [span for span in spans if len(span.audio)]
        if not heard:
            return
        for span, found in zip(heard, labeller([self._clip(span) for span in heard]), strict=True):
            stated = self.fields.stated(span.cut, span.supervision)
            span.labels |= {k: v for k, v in found.items() if self.overwrite or k not in stated}

    def _clip(self, span: _Span) -> Clip:
        fields = {**self.fields.stated(span.cut, span.supervision), **span.labels}
        domain = self._domain(span)
        known = domain != "sound" or self.fields.domain_field in fields
        return Clip(span.cut, span.audio, domain if known else None, fields.get("text") or "", fields)

    def _domain(self, span: _Span) -> str:
        one = annotate(_only(span.cut, span.supervision), [span.labels])
        return self.fields.domain(one, one.supervisions[0] if one.supervisions else None)

    def _finish(self, span: _Span) -> dict[str, Any]:
        domain = self._domain(span)
        fields = {**self.fields.stated(span.cut, span.supervision), **span.labels}
        text = fields.get("text") or ""
        numbers = measure(span.audio, span.levels, span.background, text, domain == "speech") if len(span.audio) else {}
        return {"domain": domain, "labels": span.labels, "measures": numbers}


def _only(cut: Any, supervision: Any) -> Any:
    return fastcopy(cut, supervisions=[] if supervision is None else [supervision])


def _channels(cut: Any, supervision: Any) -> tuple[int, ...]:
    """Rows of the cut's audio that a supervision speaks of; all where it names none of them."""
    all_of = [cut.channel] if isinstance(cut.channel, int) else list(cut.channel)
    own = getattr(supervision, "channel", None)
    own = [] if own is None else [own] if isinstance(own, int) else list(own)
    return tuple(all_of.index(c) for c in own if c in all_of) or tuple(range(len(all_of)))


def _samples(supervision: Any) -> slice:
    start = max(round(supervision.start * SAMPLING_RATE), 0)
    return slice(start, max(round(supervision.end * SAMPLING_RATE), start))


def measured(config: AttributesConfig, batches: Iterable[Batch]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each batch, in the order of the batches, by `config.num_jobs` processes; few batches are under way.

    Raises:
        SelfGenError: a labeller failed, or a process died.
    """
    if config.num_jobs == 1:
        yield from map(Measurer(config), batches)
        return
    with ProcessPoolExecutor(config.num_jobs, get_context("spawn"), _start, (config,)) as pool:
        try:
            under_way: deque[Any] = deque()
            for batch in batches:
                under_way.append(pool.submit(_work, batch))
                if len(under_way) > 2 * config.num_jobs:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as err:
            raise SelfGenError(
                "a measuring process died (out of memory, or killed); finished cuts are kept: start again, with fewer num_jobs or a smaller batch_size."
            ) from err
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_measurer: Measurer | None = None


def _start(config: AttributesConfig) -> None:
    global _measurer
    quiet_known_noise()
    logging.getLogger("lhotse").setLevel(logging.ERROR)
    _measurer = Measurer(config)


def _work(batch: Batch) -> list[dict[str, Any]]:
    return _measurer(batch)
