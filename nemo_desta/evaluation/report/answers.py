"""Answers worth looking at: what the main run got wrong, with what others said, what was parsed, and the clip."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nemo_desta.evaluation.items import Data
from nemo_desta.evaluation.report.sections import Section
from nemo_desta.evaluation.report.sounds import Sounds
from nemo_desta.evaluation.scores import ItemScore
from nemo_desta.view.html import printed
from nemo_desta.view.sound import Shown

__all__ = ["Answered", "Listing", "listings"]

MOST_ANSWERS = 400
_MOST_BYTES = 4_000_000
_LONG, _SHORT, _LOW = 3000, 600, 0.5
_SHOWN_APART = ("instruction", "audios", "choices", "judge", "parsed", "named", "judge_error")
_SEED = 0


@dataclass(frozen=True)
class Answered:
    """One item of the main run as the page shows it; texts are cut to a bounded length.

    Attributes:
        anchor: of the page.
        outcome: "low" for graded answers in the lower half.
        groups: "key=value" of each.
        others: (run's label, outcome, response) of the other runs.
        parsed, judge: what was read out of the response, what the judge said.
        more: the rest of the scorer's detail.
        clips: sound and picture; a clip may be shown once and then be linked to.
        heard_at: path -> anchor of the answer that has the clip.
    """

    anchor: str
    id: str
    outcome: str
    groups: tuple[str, ...]
    instruction: str
    choices: tuple[str, ...]
    response: str | None
    reference: str | None
    parsed: str
    judge: str
    others: tuple[tuple[str, str, str], ...] = ()
    more: tuple[tuple[str, str], ...] = ()
    clips: tuple[Shown, ...] = ()
    heard_at: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """The answers of a section.

    Attributes:
        section: theirs.
        answers: those shown.
        counts: outcome -> how many there are, shown or not.
        total: sum of `counts`.
    """

    section: Section
    answers: tuple[Answered, ...]
    counts: Mapping[str, int]
    total: int


def listings(
    found: Sequence[Section],
    sounds: Sounds,
    data: Mapping[str, Data] | None = None,
    most: int = MOST_ANSWERS,
    most_bytes: int = _MOST_BYTES,
) -> list[Listing]:
    """Wrong answers of each section, drawn as evenly from the outcomes as their numbers allow.

    Args:
        sounds: where clips come from, and how many there may be.
        data: questions by benchmark, for what scores.json does not hold.
        most: answers in all.
        most_bytes: of their texts in all.
    """
    made: list[Listing] = []
    for number, section in enumerate(found):
        sounds.share(len(found) - number)
        left = most - sum(len(m.answers) for m in made)
        known = (data or {}).get(section.main.scores.benchmark)
        made.append(_listing(section, sounds, known, left // (len(found) - number), most_bytes // len(found)))
    return made


def _listing(section: Section, sounds: Sounds, data: Data | None, most: int, most_bytes: int) -> Listing:
    by_outcome: dict[str, list[ItemScore]] = {}
    for item in section.main.scores.items:
        outcome = _outcome(item)
        if outcome is not None:
            by_outcome.setdefault(outcome, []).append(item)
    drawn = _drawn(by_outcome, most)
    others = [(r.label, {i.id: i for i in r.scores.items}) for r in section.runs[1:]]
    known = {i.id: i for i in data.items} if data else {}
    answers: list[Answered] = []
    size = 0
    for number, (outcome, item) in enumerate(drawn):
        anchor = f"{section.key}-{number}"
        asked = known.get(item.id)
        audios = item.detail.get("audios") or (asked.audios if asked else ())
        clips, heard_at = sounds.clips(section.main.scores.benchmark, audios, anchor)
        said = str(item.detail.get("instruction") or (asked.instruction if asked else ""))
        answers.append(_answered(anchor, outcome, item, said, others, clips, heard_at))
        size += _size(answers[-1])
        if size > most_bytes:
            break
    counts = Counter({k: len(v) for k, v in by_outcome.items()})
    return Listing(section, tuple(answers), dict(counts.most_common()), sum(counts.values()))


def _size(answer: Answered) -> int:
    """Bytes of the page that the texts take, about."""
    texts = [answer.id, answer.instruction, answer.response or "", answer.reference or "", answer.parsed, answer.judge]
    texts += [
        *answer.groups,
        *answer.choices,
        *(t for o in answer.others for t in o),
        *(t for m in answer.more for t in m),
    ]
    return sum(len(printed(t).encode()) for t in texts)


def _outcome(item: ItemScore) -> str | None:
    """The outcome as it is listed; None for what is right, or good (a refusal may be)."""
    if item.value == 1.0:
        return None
    if item.outcome == "scored":
        return "low" if item.value is not None and item.value < _LOW else None
    return None if item.outcome == "right" else item.outcome


def _drawn(by_outcome: Mapping[str, Sequence[ItemScore]], most: int) -> list[tuple[str, ItemScore]]:
    """At most `most`, rarer outcomes in full first; in the order of the items."""
    rng, drawn = random.Random(_SEED), []
    for number, (outcome, members) in enumerate(sorted(by_outcome.items(), key=lambda x: len(x[1]))):
        share = max(0, (most - len(drawn)) // (len(by_outcome) - number))
        places = sorted(rng.sample(range(len(members)), min(share, len(members))))
        drawn += [(outcome, members[p]) for p in places]
    return sorted(drawn, key=lambda d: list(by_outcome).index(d[0]))


def _answered(
    anchor: str,
    outcome: str,
    item: ItemScore,
    instruction: str,
    others: Sequence[tuple[str, Mapping[str, ItemScore]]],
    clips: tuple[Shown, ...],
    heard_at: Mapping[str, str],
) -> Answered:
    detail = item.detail
    said = [(label, items[item.id]) for label, items in others if item.id in items]
    choices = detail.get("choices")
    return Answered(
        anchor, item.id, outcome, tuple(f"{k}={v}" for k, v in item.groups.items()), _cut(instruction),
        tuple(_cut(str(c), _SHORT) for c in choices) if isinstance(choices, (list, tuple)) else (),
        None if item.response is None else _cut(str(item.response)), None if item.reference is None else _cut(str(item.reference)),
        _text(detail.get("parsed", detail.get("named"))), _text(detail.get("judge") or detail.get("judge_error")),
        tuple((label, i.outcome, _cut(str(i.response or ""), 300)) for label, i in said),
        tuple((str(k), _text(v, _SHORT)) for k, v in detail.items() if k not in _SHOWN_APART), clips, heard_at,
    )  # fmt: skip


def _text(value: Any, most: int = _LONG) -> str:
    if value is None or isinstance(value, str):
        return _cut(value or "", most)
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return _cut("\n".join(value), most) if value else "nothing"
    return _cut(json.dumps(value, ensure_ascii=False, default=str), most)


def _cut(text: str, most: int = _LONG) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"
