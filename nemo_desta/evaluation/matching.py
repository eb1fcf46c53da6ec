"""Answers beside the benchmark's questions: what is missing, what belongs to another split, whose gold answer differs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.items import Answer, Data, unique

__all__ = ["Matched", "match"]


@dataclass(frozen=True)
class Matched:
    """Answers in the order of the questions; a question without an answer has one whose response is None.

    Attributes:
        notes: sentences for the report.
        missing: questions without an answer.
        differing: answers whose file states other facts of the question (gold answer, choices, ...) than the data.
    """

    answers: tuple[Answer, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = field(default=())


def match(answers: Sequence[Answer], data: Data | None, subsets: Sequence[str] = ()) -> Matched:
    """Bring answers and questions together.

    Args:
        answers: of one run.
        data: all questions; None: the answers stand alone, and nothing can be said of what is missing.
        subsets: only the questions of these; empty: of those subsets of which there is an answer.

    Raises:
        EvaluationError: an id is there twice, or an answer belongs to none of the questions.
    """
    unique(answers, "the answers")
    if data is None:
        return Matched(
            tuple(answers), ("The questions were not given (--data): what is missing from the answers is not known.",)
        )
    known = {item.id: item for item in data.items}
    strangers = [a for a in answers if a.id not in known]
    if strangers:
        first = strangers[0]
        raise EvaluationError(
            f"{first.where or 'the answers'}: {len(strangers)} of {len(answers)} answers belong to no question of {data.root} "
            f"(first: {first.id!r}); are they of another split or version?"
        )
    given = {a.id: a for a in answers}
    wanted = set(subsets) or {a.subset for a in answers}
    items = [i for i in data.items if i.subset in wanted or i.id in given]
    missing = tuple(i.id for i in items if i.id not in given)
    differing = tuple(
        a.id for a in answers if any(k in a.fields and a.fields[k] != v for k, v in known[a.id].fields.items())
    )
    whole = [given.get(i.id) or Answer(i.id, None, i.fields, i.subset) for i in items]
    return Matched(tuple(whole), _notes(missing, differing, data), missing, differing)


def _notes(missing: Sequence[str], differing: Sequence[str], data: Data) -> tuple[str, ...]:
    notes = []
    if missing:
        notes.append(f"{len(missing)} questions have no answer (first: {missing[0]}).")
    if differing:
        notes.append(
            f"ANOTHER VERSION: {len(differing)} answers state another question or gold answer than {data.root.name} "
            f"(first: {differing[0]}); they are scored by what their own file states, as the official code does."
        )
    return tuple(notes)
