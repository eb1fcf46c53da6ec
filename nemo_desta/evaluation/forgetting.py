"""What training took from the language model: answers to text alone, by the model and by its untouched backbone.

A frozen backbone must answer letter for letter as before. Where it was tuned (LoRA), the share of identical answers says
how far it moved; whether it got worse is a question of scores: `nemo_desta.evaluation.comparing.compare`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.paired import p_text
from nemo_desta.evaluation.statistics import wilson_interval

__all__ = ["LABELS", "Difference", "Forgetting", "forgetting"]

LABELS = {"without_audio": "The model without audio", "adapter_on": "Its language model with the adapter on"}
"""Who answered -> how a report calls it."""

_SHOWN = 5
_AROUND = 60


@dataclass(frozen=True)
class Difference:
    """One answer that is not the same.

    Attributes:
        id: of the instruction.
        position: characters that both answers begin with.
        model, backbone: what each says from shortly before that place on.
    """

    id: str
    position: int
    model: str
    backbone: str


@dataclass(frozen=True)
class Forgetting:
    """How far the model's answers to text are its backbone's.

    Attributes:
        frozen: whether the backbone was frozen, so that all had to be identical.
        n: instructions.
        identical: answers that are the same, letter for letter.
        share: identical / n, 0 to 1.
        low, high: 95 % interval of the share.
        differences: the first few.
        scores: paired comparison of the two runs' scores (`Comparison.to_dict`); None where none was made.
    """

    frozen: bool
    n: int
    identical: int
    share: float
    low: float
    high: float
    differences: tuple[Difference, ...]
    scores: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Forgetting":
        """What `to_dict` gave.

        Raises:
            TypeError, KeyError: it is something else.
        """
        return cls(**{**value, "differences": tuple(Difference(**d) for d in value["differences"])})

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "differences": [asdict(d) for d in self.differences]}

    def told(self, name: str) -> str:
        """A sentence or two for a report.

        Args:
            name: of what answered: a key of `LABELS`, or any other.
        """
        must = ", as they must be" if self.frozen else ""
        text = f"{LABELS.get(name, name)}: {self.identical} of {self.n} answers to text are identical to those of the untouched backbone{must}."
        if not self.scores:
            return text
        d = self.scores["overall"]
        return f"{text} Scored, it differs by {d['difference']:+.2f} (95 % {d['low']:+.2f} to {d['high']:+.2f}, p = {p_text(d['p_value'])})."


def forgetting(
    model_answers: Sequence[tuple[str, str]], backbone_answers: Sequence[tuple[str, str]], frozen: bool
) -> Forgetting:
    """Compare the answers of a model without audio with those of its untouched backbone.

    Args:
        model_answers, backbone_answers: (id, response) pairs of the same instructions, in any order.
        frozen: whether the backbone was frozen in training.

    Raises:
        EvaluationError: there are no answers, an id is there twice, the ids differ; or `frozen`, and an answer differs.
    """
    ours, theirs = _by_id(model_answers, "the model"), _by_id(backbone_answers, "the backbone")
    _check_ids(ours, theirs)
    different = [i for i in ours if ours[i] != theirs[i]]
    shown = tuple(_difference(i, ours[i], theirs[i]) for i in different[:_SHOWN])
    if frozen and different:
        first = shown[0]
        raise EvaluationError(
            f"the backbone is frozen, so that without audio it must answer as before, yet {len(different)} of {len(ours)} answers "
            f"differ; first {first.id!r} at character {first.position}: {first.model!r} instead of {first.backbone!r}. Were both "
            "run with the same precision, batch size and prompt, and is the checkpoint of a frozen backbone?"
        )
    share = wilson_interval(len(ours) - len(different), len(ours))
    return Forgetting(frozen, len(ours), len(ours) - len(different), share.value, share.low, share.high, shown)


def _by_id(answers: Sequence[tuple[str, str]], whose: str) -> dict[str, str]:
    if not answers:
        raise EvaluationError(f"there are no answers of {whose} to compare.")
    found: dict[str, str] = {}
    for name, response in answers:
        if name in found:
            raise EvaluationError(f"answers of {whose}: id {name!r} is there twice.")
        found[name] = response
    return found


def _check_ids(ours: dict[str, str], theirs: dict[str, str]) -> None:
    lacking, more = [i for i in theirs if i not in ours], [i for i in ours if i not in theirs]
    if lacking or more:
        first = (lacking or more)[0]
        raise EvaluationError(
            f"model and backbone were asked different instructions: {len(lacking)} only the backbone, {len(more)} only the model "
            f"(first: {first!r}); run both on the same set."
        )


def _difference(name: str, model: str, backbone: str) -> Difference:
    pairs = zip(model, backbone, strict=False)
    shortest = min(len(model), len(backbone))
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), shortest)
    start = max(0, place - _AROUND // 3)
    return Difference(name, place, model[start : place + _AROUND], backbone[start : place + _AROUND])
