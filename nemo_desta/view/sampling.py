"""Reading an output folder once: some rows drawn at random, and distributions of all of them, in bounded memory."""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemo_desta.errors import RecordError
from nemo_desta.selfgen.words import seed_pairs

__all__ = ["VERDICTS", "Distributions", "Row", "find_files", "read_folder", "share_out"]

VERDICTS = ("ok", "filtered", "failed", "missing")
"""What became of a row; `missing` is an import's word for rows without audio."""

_OTHER = "(other)"
_VALUES = 500  # distinct values counted of a field whose values nobody bounds
_LONGEST = 2000  # longer responses are counted as this long
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Row:
    """One line of a folder.

    Attributes:
        verdict: one of VERDICTS.
        data: the JSON object, whatever it holds.
        where: "file:line" within the folder.
    """

    verdict: str
    data: dict[str, Any]
    where: str

    def text(self, key: str) -> str:
        """A field as text; empty where it is absent or something else."""
        value = self.data.get(key)
        return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""

    @property
    def provenance(self) -> Mapping[str, Any]:
        value = self.data.get("provenance")
        return value if isinstance(value, dict) else {}

    @property
    def kind(self) -> str:
        """Kind of its prompt; empty where no provenance says it."""
        value = self.provenance.get("kind")
        return value if isinstance(value, str) else ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        value = self.data.get("messages")
        return [m for m in value if isinstance(m, dict)] if isinstance(value, list) else []

    @property
    def clips(self) -> list[tuple[str, str | None]]:
        """(path, transcript) of its clips."""
        named = [a for m in self.messages if isinstance(m.get("audios"), list) for a in m["audios"]]
        if not self.messages and isinstance(self.data.get("audio"), list):
            named = self.data["audio"]
        pairs = [(a.get("audio"), a.get("text")) if isinstance(a, dict) else (a, None) for a in named]
        return [(path, text if isinstance(text, str) else None) for path, text in pairs if isinstance(path, str)]


def _bounded() -> "_Bounded":
    return _Bounded()


class _Bounded(Counter):
    """A Counter of at most so many values; those that come later are counted together."""

    def add(self, key: str) -> None:
        self[key if key in self or len(self) < _VALUES else _OTHER] += 1


@dataclass
class Distributions:
    """Counts over all rows.

    Attributes:
        verdicts: rows.
        kinds, datasets: value -> verdict -> rows.
        reasons: why rows were filtered, failed or are missing; names, paths and numbers in free text are left out.
        tokens, words: verdict -> length of the response -> rows; tokens as the provenance counts them.
        attributes: attribute of the seed description -> value -> rows.
        unreadable: lines that are no JSON object.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    datasets: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reasons: dict[str, _Bounded] = field(default_factory=lambda: defaultdict(_bounded))
    tokens: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    words: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    attributes: dict[str, _Bounded] = field(default_factory=lambda: defaultdict(_bounded))
    unreadable: int = 0

    def add(self, row: Row) -> None:
        """Count one row."""
        self.verdicts[row.verdict] += 1
        _split(self.kinds, row.kind or "(not stated)", row.verdict)
        _split(self.datasets, row.text("dataset")[:80] or "(not stated)", row.verdict)
        if row.verdict != "ok":
            self.reasons[row.verdict].add(_VARIABLE.sub("…", row.text("reason"))[:160] or "(not stated)")
        if row.text("response"):
            self.words[row.verdict][min(len(row.text("response").split()), _LONGEST)] += 1
            count = row.provenance.get("num_tokens")
            if isinstance(count, int):
                self.tokens[row.verdict][min(max(count, 0), _LONGEST)] += 1
        for name, value in seed_pairs(row.text("seed_description")):
            name, value = name[:40], value[:80]
            if name in self.attributes or len(self.attributes) < _VALUES:
                self.attributes[name].add(value)


def _split(counts: dict[str, Counter[str]], key: str, verdict: str) -> None:
    counts[key if key in counts or len(counts) < _VALUES else _OTHER][verdict] += 1


def find_files(folder: Path) -> dict[str, list[Path]]:
    """Verdict -> the JSONL files of an output of self-generation (shards, too), of an import, or of a package.

    Raises:
        RecordError: there are none.
    """
    stem = _name(folder)
    places = {"ok": folder, "filtered": folder / "filtered", "failed": folder / "failed"}
    found = {verdict: sorted(place.glob(f"{stem}*.jsonl")) for verdict, place in places.items()}
    aside = {v: [p for p in (folder / f"{v}.jsonl",) if p.is_file()] for v in ("failed", "missing")}
    found["ok"] = [p for p in found["ok"] if p.name not in {"failed.jsonl", "missing.jsonl"}]
    found["failed"] += aside["failed"]
    found["missing"] = aside["missing"]
    if not any(found.values()):
        raise RecordError(
            f"{folder}: no records in it; give the output folder of nemo-desta selfgen (finished: rows under way are not "
            "shown), import-aqa5m, or pack format=jsonl."
        )
    return found


def _name(folder: Path) -> str:
    """Stem of the record files that the folder's manifest states; empty: any."""
    try:
        name = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("name", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) and not set(name) & set("*?[/") else ""


def read_folder(files: Mapping[str, list[Path]], rows: int, seed: int) -> tuple[list[Row], Distributions]:
    """One pass over all rows.

    Args:
        files: as `find_files` gives them.
        rows: how many to draw, shared among the verdicts as evenly as their numbers allow.
        seed: of the draw.

    Returns:
        The rows drawn, by verdict and in input order, and the distributions of all.
    """
    counts = Distributions()
    drawn: dict[str, list[tuple[int, Row]]] = {}
    for verdict, paths in files.items():
        chance = random.Random(f"{seed} {verdict}")
        drawn[verdict] = []
        for number, row in enumerate(_rows(verdict, paths, counts)):
            counts.add(row)
            place = number if number < rows else chance.randrange(number + 1)
            if number < rows:
                drawn[verdict].append((number, row))
            elif place < rows:
                drawn[verdict][place] = (number, row)
    shares = share_out({v: len(d) for v, d in drawn.items()}, rows)
    picked = {v: random.Random(f"{seed} {v} pick").sample(d, shares[v]) for v, d in drawn.items()}
    return [row for v in files for _, row in sorted(picked[v], key=lambda x: x[0])], counts


def _rows(verdict: str, paths: list[Path], counts: Distributions) -> Iterator[Row]:
    for path in paths:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                data = _object(line)
                if data is None:
                    counts.unreadable += 1
                    continue
                inner = data.get("record")
                merged = {**inner, "reason": data.get("reason")} if isinstance(inner, dict) else data
                yield Row(verdict, merged, f"{path.name}:{number}")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def share_out(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """How many of each to take so that all get the same where they have enough, and `total` is used up where it can be."""
    shares = dict.fromkeys(counts, 0)
    left = min(total, sum(counts.values()))
    while left:
        for key in counts:
            if left and shares[key] < counts[key]:
                shares[key] += 1
                left -= 1
    return shares
