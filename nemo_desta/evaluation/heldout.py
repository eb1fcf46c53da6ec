"""Held-out loss, and what remains of it when the audio is taken away or exchanged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nemo_desta.evaluation.features import AudioFeatures
from nemo_desta.evaluation.statistics import Interval, bootstrap_interval, ratio
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.record import Record

__all__ = ["CONDITIONS", "HeldoutLoss", "exchange_clips", "heldout_losses"]

CONDITIONS = ("trained", "untrained", "zero", "shuffle")
"""trained connector; untrained connector; trained, audio features zeroed; trained, each clip another's."""


@dataclass(frozen=True)
class HeldoutLoss:
    """Mean loss over target tokens, in nats.

    Attributes:
        loss: with its interval over clips.
        difference: this condition's loss minus the trained one's on the same resamples; above zero, listening helped.
    """

    loss: Interval
    difference: Interval


def exchange_clips(records: Sequence[Record], seed: int = 0) -> list[Record]:
    """Give every record another clip; transcripts stay, so only what is heard is wrong.

    Clips are exchanged as a whole: all records of one clip get the same other clip, and every clip is used once (a
    single random cycle, Sattolo 1986), so no record keeps its own.

    Raises:
        ValueError: fewer than two distinct clips.
    """
    names = list(dict.fromkeys(a.audio for r in records for a in r.audios))
    if len(names) < 2:
        raise ValueError(f"{len(names)} distinct clips; an exchange needs two or more.")
    order = np.random.default_rng(seed).permutation(len(names))
    other = {names[a]: names[b] for a, b in zip(order, np.roll(order, 1), strict=True)}

    def exchange(record: Record) -> Record:
        messages = tuple(
            replace(m, audios=tuple(replace(a, audio=other[a.audio]) for a in m.audios)) for m in record.messages
        )
        return replace(record, messages=messages)

    return [exchange(r) for r in records]


def heldout_losses(
    features: AudioFeatures, records: Sequence[Record], audio_root: str | None, batch_size: int = 16, seed: int = 0
) -> dict[str, HeldoutLoss]:
    """The loss under each of CONDITIONS.

    Args:
        features: with the variants "trained" and "untrained".
        records: held out; each of one clip or more.
        audio_root: of their audio paths.
    """
    features.add((a.audio for r in records for a in r.audios), audio_root)
    with features.use("untrained") as model:
        sums = {"untrained": _sums(model, records, audio_root, batch_size)}
    with features.use("trained") as model:
        sums["trained"] = _sums(model, records, audio_root, batch_size)
        model.zero_audio = True
        try:
            sums["zero"] = _sums(model, records, audio_root, batch_size)
        finally:
            model.zero_audio = False
        sums["shuffle"] = _sums(model, exchange_clips(records, seed), audio_root, batch_size)
    return _intervals(sums, [r.audios[0].audio for r in records], seed)


def _sums(model: DeSTAModel, records: Sequence[Record], audio_root: str | None, batch_size: int) -> np.ndarray:
    """(num_records, 2): summed negative log-probability, number of target tokens."""
    return np.array([(-float(s.double().sum()), len(s)) for s in model.score(records, audio_root, batch_size)])


def _intervals(sums: Mapping[str, np.ndarray], clips: Sequence[str], seed: int) -> dict[str, HeldoutLoss]:
    names, index = np.unique(clips, return_inverse=True)
    by_clip = {k: np.stack([np.bincount(index, v[:, i], len(names)) for i in (0, 1)]) for k, v in sums.items()}
    trained = by_clip["trained"]
    out = {}
    for condition in CONDITIONS:
        nll, tokens = by_clip[condition]
        out[condition] = HeldoutLoss(
            bootstrap_interval(lambda w, n=nll, t=tokens: ratio(n, t, w), len(names), seed),
            bootstrap_interval(lambda w, n=nll, t=tokens: ratio(n - trained[0], t, w), len(names), seed),
        )
    return out
