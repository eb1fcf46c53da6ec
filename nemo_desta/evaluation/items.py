"""Questions of a benchmark, and answers to them: what predictors, scorers and reports hand to one another."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError

__all__ = ["Answer", "Data", "Item", "content_hash", "unique"]


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: unique in its benchmark (`<subset>/<id>` where the benchmark numbers each subset anew).
        audios: paths relative to the data's root.
        instruction: the text beside the audio, as the data has it; "" where the question is spoken.
        kind: question type: which prompt template it takes.
        subset: the set, track, or task in which it stands; "" where there is one.
        text: what can stand for the audio in a run without audio: reference transcript or description; None: unknown.
        fields: everything that the scorer needs, plain JSON: gold answer, choices, categories, what the official
            scorer reads. The keys are those of the official files wherever these have one.
    """

    id: str
    audios: tuple[str, ...]
    instruction: str
    kind: str = "default"
    subset: str = ""
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """The questions of a benchmark as they lie on disk.

    Attributes:
        root: folder that the items' audio paths are relative to.
        items: in the order of the files.
        version: hash of questions and gold answers (`content_hash`), audio left out.
        known_as: name of the published version with this hash; None: none that is known.
        notes: what the reader wants said, for reports: another version, sets that are not there.
        protocol: judge prompts found beside the data; see `Benchmark.protocol`.
    """

    root: Path
    items: tuple[Item, ...]
    version: str
    known_as: str | None = None
    notes: tuple[str, ...] = ()
    protocol: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What somebody answered to one question.

    Attributes:
        id, subset: of the item.
        response: the text; None when there is none (missing key, failed item).
        fields: as `Item.fields`; in files of others, what the file states of them.
        judged: raw verdicts that the file holds already (`scores`, a judge's reply), as official judge scripts leave
            them; None where it holds none.
        where: "file:line" or "file, entry n", for messages.
        error: why there is no response.
    """

    id: str
    response: str | None
    fields: Mapping[str, Any]
    subset: str = ""
    judged: Any = None
    where: str = ""
    error: str | None = None


def content_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """Hash of rows of plain JSON: sha256 over their canonical form, independent of key order and of the rows' order."""
    lines = sorted(json.dumps(row, sort_keys=True, ensure_ascii=True, separators=(",", ":")) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def unique(items: Sequence[Any], what: str) -> None:
    """Refuse ids that are there twice.

    Args:
        items: objects with `id` (and `where`, where they have one).
        what: how the message calls the place.

    Raises:
        EvaluationError: naming the first few.
    """
    seen: dict[str, str] = {}
    twice = []
    for number, item in enumerate(items):
        place = getattr(item, "where", "") or f"entry {number}"
        if item.id in seen:
            twice.append(f"{item.id!r} ({seen[item.id]} and {place})")
        else:
            seen[item.id] = place
    if twice:
        more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
        raise EvaluationError(f"{what}: ids are there twice: {'; '.join(twice[:3])}{more}; keep one of each.")
