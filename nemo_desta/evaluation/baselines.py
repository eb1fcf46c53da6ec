"""What a score is held against: guessing, and the same language model with a transcript in the audio's place."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from nemo_desta.evaluation.comparing import Comparison, Paired, compare
from nemo_desta.evaluation.scores import Metric, Scores

__all__ = ["AudioHelped", "audio_helped", "chance"]

_Z95 = 1.959964
_NAMED = 5


def chance(scores: Scores) -> Metric | None:
    """What guessing gives on these items, in percent; None where no item has a chance.

    The interval is the spread of a guesser's score on a set of this size: each item is a coin of its own chance.
    """
    known = [i.chance for i in scores.items if i.chance is not None]
    if not known:
        return None
    n = len(known)
    mean = sum(known) / n
    half = _Z95 * sqrt(sum(p * (1 - p) for p in known)) / n
    note = "" if n == len(scores.items) else f"{n} of {len(scores.items)} items can be guessed"
    return Metric("chance", "all", 100 * mean, 100 * max(0.0, mean - half), 100 * min(1.0, mean + half), n, note=note)


@dataclass(frozen=True)
class AudioHelped:
    """Where hearing beats reading the transcript.

    Attributes:
        overall: model - cascade on all items.
        helped, hurt: groups decided (see `Paired.decided`) for, against the model; the largest difference first.
        unclear: the other groups.
    """

    overall: Paired
    helped: tuple[Paired, ...]
    hurt: tuple[Paired, ...]
    unclear: tuple[Paired, ...]

    def __str__(self) -> str:
        parts = [_verdict(self.overall)]
        for what, groups in (("it helped in", self.helped), ("it hurt in", self.hurt)):
            if groups:
                parts.append(f"{what} {_listed(groups)}")
        if self.unclear:
            parts.append(f"nothing can be said of {_names(self.unclear)}")
        return "; ".join(parts) + "."


def audio_helped(model: Scores, cascade: Scores, comparison: Comparison | None = None) -> AudioHelped:
    """Where audio helped beyond the transcript, where it hurt, where nothing can be said.

    Args:
        model: hears the audio.
        cascade: the same language model, given the transcript.
        comparison: of the two, where it is known already.

    Raises:
        EvaluationError: the runs are of different benchmarks or have nothing in common.
    """
    found = comparison or compare(model, cascade, allow_partial=True)
    ranked = sorted(found.groups, key=lambda g: -abs(g.difference))
    helped, hurt = tuple(g for g in ranked if g.decided > 0), tuple(g for g in ranked if g.decided < 0)
    return AudioHelped(found.overall, helped, hurt, tuple(g for g in found.groups if g not in helped + hurt))


def _verdict(overall: Paired) -> str:
    figure = f"({overall.difference:+.1f}, 95 % {overall.low:+.1f} to {overall.high:+.1f})"
    if overall.decided > 0:
        return f"Audio helped beyond the transcript {figure}"
    if overall.decided < 0:
        return f"Audio hurt: the transcript alone does better {figure}"
    return f"Whether audio helped beyond the transcript, nothing can be said {figure}"


def _listed(groups: Sequence[Paired]) -> str:
    named = ", ".join(f"{g.group} ({g.difference:+.1f})" for g in groups[:_NAMED])
    return named + _more(groups)


def _names(groups: Sequence[Paired]) -> str:
    return ", ".join(g.group for g in groups[:_NAMED]) + _more(groups)


def _more(groups: Sequence[Paired]) -> str:
    return f" and {len(groups) - _NAMED} more groups" if len(groups) > _NAMED else ""
