"""The data set hlt-lab/voicebench as the hub serves it: parquet files, one folder a set, one file (or several) a split."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.parquet import read_rows
from nemo_desta.evaluation.benchmarks.voicebench.results import item_id
from nemo_desta.evaluation.benchmarks.voicebench.sets import SETS, QuestionSet
from nemo_desta.evaluation.items import Data, Item, content_hash, unique
from nemo_desta.schema import suggest

__all__ = ["DOWNLOAD", "load"]

DOWNLOAD = (
    "VoiceBench: download the dataset hlt-lab/voicebench from Hugging Face (11 GB; a single set is its folder) and give the folder "
    "that holds alpacaeval_full/, commoneval/, wildvoice/, sd-qa/, mmsu/, openbookqa/, bbh/, ifeval/, advbench/ with their "
    "<split>-00000-of-0000N.parquet files."
)
_SHARD = re.compile(r"^(?P<split>\w+)-(?P<part>\d{5})-of-(?P<parts>\d{5})(?:-[0-9a-f]+)?$")
_CONVERTED = re.compile(r"^\d{4}$")
_NOT_SCORED = "mtbench"

Splits = dict[str, list[Path]]


def load(source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
    """See `Benchmark.load`: <set>/<split>-00000-of-0000N.parquet or <set>/<split>/0000.parquet, anywhere under `source`."""
    for name in subsets:
        if name not in SETS:
            why = " (the official code does not score it)" if name == _NOT_SCORED else suggest(name, SETS)
            raise EvaluationError(f"VoiceBench: no set {name!r}{why}; it has {', '.join(SETS)}.")
    found = _found(source)
    missing = [s for s in subsets if s not in found]
    wanted = [s for s in SETS if s in found and (not subsets or s in subsets)]
    if missing or not wanted:
        raise EvaluationError(f"{source}: holds no parquet files of {', '.join(missing) or 'any set'}. {DOWNLOAD}")
    items = tuple(item for name in wanted for item in _items(SETS[name], _ordered(source, name, found[name]), work))
    unique(items, str(source))
    version = content_hash({k: v for k, v in item.fields.items() if k != "audio"} for item in items)
    return Data(work, items, version, _known(items, wanted, found), _notes(items, wanted, found))


def _found(source: Path) -> dict[str, Splits]:
    """Set -> split -> its files in order."""
    found: dict[str, Splits] = {}
    for path in sorted(source.rglob("*.parquet")):
        folders = [source.resolve().name, *path.relative_to(source).parts[:-1]]
        name = next((f for f in reversed(folders) if f in SETS or f == _NOT_SCORED), None)
        shard = _SHARD.match(path.stem)
        split = shard["split"] if shard else folders[-1] if _CONVERTED.match(path.stem) else None
        if name and split and not any(f.startswith(".") for f in folders[1:]):
            found.setdefault(name, {}).setdefault(split, []).append(path)
    return found


def _check_shards(files: Sequence[Path]) -> None:
    """Refuse a split of which a file is missing, or there twice."""
    shards = [m for m in (_SHARD.match(f.stem) for f in files) if m]
    if not shards:
        return
    there, parts = sorted(int(m["part"]) for m in shards), int(shards[0]["parts"])
    if there != list(range(parts)) or len({m["parts"] for m in shards}) > 1:
        raise EvaluationError(
            f"{files[0].parent}: the split {shards[0]['split']!r} has {parts} files, there are those numbered {there}; download "
            "the folder again, or remove the copy."
        )


def _ordered(source: Path, name: str, splits: Splits) -> Splits:
    """In the order of the data card beside the files, which is that of the official code; without a card by name."""
    card = source / "README.md"
    listed: list[str] = []
    if card.is_file():
        listed = _card_splits(card.read_text(encoding="utf-8", errors="replace"), name)
    rest = sorted(s for s in splits if s not in listed)
    return {split: splits[split] for split in [*(s for s in listed if s in splits), *rest]}


def _card_splits(text: str, name: str) -> list[str]:
    parts = text.split("---\n")
    try:
        configs = yaml.safe_load(parts[1])["configs"] if len(parts) > 2 else []
        return [str(f["split"]) for c in configs if c["config_name"] == name for f in c["data_files"]]
    except (yaml.YAMLError, KeyError, TypeError):
        return []


def _items(questions: QuestionSet, splits: Splits, work: Path) -> Iterator[Item]:
    number = 0
    for split, files in splits.items():
        _check_shards(files)
        number = number if questions.group == "subject" else 0
        rows = read_rows(files, ["audio"], work, f"{questions.name}/{split}")
        for place, row in enumerate(rows):
            yield _item(questions, split, number, row, f"{files[0].parent} ({split}), row {place}")
            number += 1


def _item(questions: QuestionSet, split: str, number: int, row: Mapping[str, Any], where: str) -> Item:
    lacking = [c for c in ("prompt", "audio", *questions.columns) if row.get(c) is None]
    if lacking:
        there = ", ".join(map(str, row))
        raise EvaluationError(f"{where}: has no {' and no '.join(lacking)}; its columns are {there}. {DOWNLOAD}")
    counted = "test" if questions.group == "subject" else split
    fields = {**row, "set": questions.name, "split": split}
    name = item_id(questions, counted, number, row, where)
    return Item(name, (row["audio"],), "", questions.name, questions.name, row["prompt"], fields)


def _known(items: Sequence[Item], wanted: Sequence[str], found: Mapping[str, Splits]) -> str | None:
    """No hash was published; the number of questions of every set is what the published version is known by."""
    other = [n for n in wanted if _other_size(items, n, found[n]) or len(found[n]) != SETS[n].splits]
    return None if other else f"hlt-lab/voicebench (by the number of questions of {', '.join(wanted)})"


def _other_size(items: Sequence[Item], name: str, splits: Splits) -> str:
    questions, count = SETS[name], sum(i.subset == name for i in items)
    if questions.size is None:
        return ""
    published = questions.size * (len(splits) if questions.group == "region" else 1)
    return "" if count == published else f"{name} has {count} questions, {published} were published"


def _notes(items: Sequence[Item], wanted: Sequence[str], found: Mapping[str, Splits]) -> tuple[str, ...]:
    notes = [f"{s} is not there." for s in SETS if s not in found]
    if _NOT_SCORED in found:
        notes.append(f"{_NOT_SCORED} is left out: the official code does not score it.")
    for name in wanted:
        questions, splits = SETS[name], found[name]
        other = _other_size(items, name, splits)
        if other:
            notes.append(f"ANOTHER VERSION: {other}.")
        if questions.size is not None and len(splits) != questions.splits:
            notes.append(
                f"{name} has {len(splits)} of {questions.splits} {questions.group or 'test'} splits: {', '.join(splits)}."
            )
    return tuple(notes)
