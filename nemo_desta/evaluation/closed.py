"""Asking closed questions: which of a few full answers does the model find likeliest, its habits set aside?

Score of a choice = its log-probability minus its prior, the mean over label-free calibration clips of the same
question and the same method. Without this a model that always prefers "a man" would look random or perfect,
depending on the test clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nemo_desta.evaluation.clips import EvalClip, conversation
from nemo_desta.evaluation.questions import ClosedQuestion
from nemo_desta.evaluation.statistics import Interval, accuracy, bootstrap_interval, macro_auc, wilson_interval
from nemo_desta.models.comparing import score_groups
from nemo_desta.models.desta import DeSTAModel

__all__ = ["ClosedResult", "QuestionScores", "ask", "auc_difference", "summarise"]


@dataclass(frozen=True)
class QuestionScores:
    """One question asked of N clips by one method.

    Attributes:
        clip_ids: N ids.
        labels: (N,) int64, numbers of the right choices.
        scores: (N, K) float64, log-probabilities of the choices.
    """

    clip_ids: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray

    def without_prior(self, calibration: "QuestionScores") -> "QuestionScores":
        """Each choice's mean score over other clips taken off; their labels are not looked at."""
        prior = calibration.scores.mean(axis=0) if len(calibration.scores) else 0.0
        return QuestionScores(self.clip_ids, self.labels, self.scores - prior)


@dataclass(frozen=True)
class ClosedResult:
    """What one method reached on one question.

    Attributes:
        num_clips: how many clips it was asked of.
        class_counts: how many clips have each choice as their answer.
        accuracy: share of right answers. Interval by bootstrap over clips, Wilson's where all or none are right.
        auc: macro one-versus-rest area under the ROC curve; does not depend on the prior for two choices.
        predicted: how often each choice was preferred.
    """

    num_clips: int
    class_counts: tuple[int, ...]
    accuracy: Interval
    auc: Interval
    predicted: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "num_clips": self.num_clips, "class_counts": list(self.class_counts), "predicted": list(self.predicted),
            "accuracy": self.accuracy.to_dict(), "auc": self.auc.to_dict(),
        }  # fmt: skip


def ask(
    model: DeSTAModel,
    clips: Sequence[EvalClip],
    questions: Sequence[ClosedQuestion],
    system: str,
    source: str = "audio",
    audio_root: str | None = None,
    batch_size: int = 4,
) -> dict[str, QuestionScores]:
    """Ask every question of every clip that it fits.

    Args:
        model: for `source="audio"` with its connector in place; for "seed" and "transcript" its backbone answers
            (LoRA, where there is one, is off), whatever the connector.
        clips: of one split.
        system: system prompt, that of self-generation.
        source: what stands between <start_audio> and <end_audio>; see `conversation`.
        batch_size: clips in one forward pass; all questions about a clip stand in one row (`packed`), and what is
            the same text for several clips is scored once.

    Returns:
        Question name -> scores; a question that fits no clip has N = 0.
    """
    rows = {c.id: [(q, label) for q in questions if (label := q.label(c.attributes)) is not None] for c in clips}
    groups = {
        c.id: tuple(
            (conversation(c, q.question, system, source), tuple(x.answer for x in q.choices)) for q, _ in rows[c.id]
        )
        for c in clips
    }
    distinct = [g for g in dict.fromkeys(groups.values()) if g]
    scored = dict(zip(distinct, score_groups(model, distinct, audio_root, batch_size), strict=True))
    found: dict[str, list[tuple[str, int, np.ndarray]]] = {q.name: [] for q in questions}
    for clip_id in sorted(groups):  # the same order for every method
        for (question, label), scores in zip(rows[clip_id], scored.get(groups[clip_id], ()), strict=True):
            found[question.name].append((clip_id, label, scores.double().numpy()))
    return {q.name: _gather(found[q.name], len(q.choices)) for q in questions}


def _gather(rows: Sequence[tuple[str, int, np.ndarray]], num_choices: int) -> QuestionScores:
    labels = np.array([label for _, label, _ in rows], dtype=np.int64)
    scores = np.array([s for _, _, s in rows]).reshape(len(rows), num_choices)
    return QuestionScores(tuple(i for i, _, _ in rows), labels, scores)


def summarise(asked: QuestionScores, seed: int = 0) -> ClosedResult:
    """Accuracy and AUC with 95 % intervals; take the prior off first."""
    n, k = asked.scores.shape
    counts = tuple(np.bincount(asked.labels, minlength=k).tolist())
    if n == 0:
        undefined = Interval(np.nan, np.nan, np.nan)
        return ClosedResult(0, counts, undefined, undefined, (0,) * k)
    right = bootstrap_interval(lambda w: accuracy(asked.scores, asked.labels, w), n, seed)
    if right.low == right.high:
        right = wilson_interval(round(right.value * n), n)
    area = bootstrap_interval(lambda w: macro_auc(asked.scores, asked.labels, w), n, seed)
    predicted = tuple(np.bincount(asked.scores.argmax(axis=1), minlength=k).tolist())
    return ClosedResult(n, counts, right, area, predicted)


def auc_difference(first: QuestionScores, second: QuestionScores, seed: int = 0) -> Interval:
    """AUC of the first method minus that of the second, on the same resamples of the same clips.

    Raises:
        ValueError: the methods were asked of different clips.
    """
    if first.clip_ids != second.clip_ids:
        raise ValueError("a paired difference needs the same clips in the same order.")

    def difference(weights: np.ndarray) -> np.ndarray:
        return macro_auc(first.scores, first.labels, weights) - macro_auc(second.scores, second.labels, weights)

    return bootstrap_interval(difference, len(first.clip_ids), seed)
