"""Dynamic-SUPERB's questions: folders as the benchmark's preprocess scripts write them, or the hub's parquet.

<root>/<instance>/metadata.json: an object of file name -> {file, instruction, label, text?, ...}; the audio lies beside it, that of a
question with several clips as <stem>_pair<suffix> (phase 1) or <stem>_pair2<suffix>, <stem>_pair3<suffix>, ... (phase 2).
<root>/<instance>/**/test-*.parquet: the same columns, and audio, audio2, ... (or enrollment and testing, query and doc).
An instance.json beside either states the metrics.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError, RecordError
from nemo_desta.evaluation.benchmarks.dynamic_superb.finding import DOWNLOAD, Place, find_places
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import (
    Instance,
    all_instances,
    asked,
    instance,
    item_id,
    kind_and_metric,
    listed,
)
from nemo_desta.evaluation.benchmarks.dynamic_superb.keyed import read_keyed
from nemo_desta.evaluation.benchmarks.parquet import audio_columns, read_rows, require_columns
from nemo_desta.evaluation.items import Data, Item, content_hash, unique
from nemo_desta.evaluation.reading import text_of
from nemo_desta.record import resolve_audio

__all__ = ["load"]

_PAIRS = (("enrollment", "testing"), ("query", "doc"))
_OFTEN = 200


@dataclass(frozen=True)
class _Row:
    """One question as it lies on disk: its columns without audio, its clips, its name in the layout, and its place."""

    columns: Mapping[str, Any]
    audios: tuple[str, ...]
    key: str
    where: str


def load(source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
    """See `Benchmark.load`."""
    places = _wanted(find_places(source), subsets, source)
    packed = any(place.parquet for place in places)
    if packed and not all(place.parquet for place in places):
        raise EvaluationError(f"{source}: holds metadata.json folders and parquet; give the folder of one of the two.")
    root = work if packed else source
    items = tuple(item for place in places for item in _items(place, root, work))
    unique(items, str(source))
    notes = (*_audio_notes(items, root, source), *_notes(items))
    return Data(root, items, content_hash(i.fields for i in items), None, notes)


def _audio_notes(items: Sequence[Item], root: Path, source: Path) -> tuple[str, ...]:
    """What is said of clips that are not there: a question without all of its clips stays, and a model fails on it."""
    heard = [i for i in items if i.audios]
    lost = [i for i in heard if not all((root / a).is_file() for a in i.audios)]
    if not lost:
        return ()
    first = next(a for a in lost[0].audios if not (root / a).is_file())
    if len(lost) == len(heard):
        raise EvaluationError(f"{source}: audio is missing for all {len(heard)} questions (first: {first}). {DOWNLOAD}")
    return (
        f"Audio is missing for {len(lost)} of {len(heard)} questions (first: {first}), of "
        f"{listed(list(dict.fromkeys(i.subset for i in lost)))}: a model cannot answer them; they count as failed.",
    )


def _wanted(places: Sequence[Place], subsets: Sequence[str], source: Path) -> list[Place]:
    by_name: dict[str, Place] = {}
    for place in places:
        name = instance(place.name).name
        if name in by_name:
            raise EvaluationError(
                f"{source}: {name} is there twice: {by_name[name].folder} and {place.folder}; keep one."
            )
        by_name[name] = place
    lacking = [s for s in subsets if instance(s).name not in by_name]
    if lacking:
        there = listed(sorted(by_name))
        raise EvaluationError(f"{source}: holds no {', '.join(lacking[:5])}; it holds {there}.")
    order = {name: number for number, name in enumerate(all_instances())}
    chosen = [n for n in by_name if not subsets or n in {instance(s).name for s in subsets}]
    return [by_name[n] for n in sorted(chosen, key=lambda n: (order.get(n, len(order)), n))]


def _items(place: Place, root: Path, work: Path) -> Iterator[Item]:
    about = instance(place.name)
    stated = _stated(place)
    rows = _parquet_rows(place, work, about) if place.parquet else _metadata_rows(place, root, about)
    silent = []
    for row in rows:
        item = _item(about, place.name, row, stated)
        if not item.audios and about.needs_audio:
            silent.append(row.where)
        yield item
    if silent:
        raise EvaluationError(
            f"{silent[0]}: has no audio, and so {len(silent)} questions of {about.name}; fetch the data with its audio. {DOWNLOAD}"
        )


def _item(about: Instance, stated_name: str, row: _Row, stated: Mapping[str, Any]) -> Item:
    columns = dict(row.columns)
    text_of(columns, "instruction", row.where)
    label = columns.get("label")
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        raise EvaluationError(f"{row.where}: 'label' must be text, it is {label!r}.")
    fields = {**columns, "instance": about.name, "label": str(label), **stated}
    kind, metric = kind_and_metric(fields, about)
    if kind == "generation" and metric in ("wer", "cer"):
        kind = "asr"
    name = item_id(about, columns, row.key, stated_name, row.where)
    return Item(name, row.audios, asked(about, columns), kind, about.name, None, fields)


def _stated(place: Place) -> dict[str, Any]:
    """The metrics that an instance.json states."""
    path = place.folder / "instance.json"
    if not path.is_file():
        return {}
    value = read_keyed(path)
    metrics = value.get("metrics") if isinstance(value, dict) else None
    return {"metrics": metrics} if metrics else {}


def _metadata_rows(place: Place, root: Path, about: Instance) -> Iterator[_Row]:
    path = place.folder / "metadata.json"
    value = read_keyed(path)
    if not isinstance(value, dict) or not value:
        raise EvaluationError(f"{path}: must hold an object of file name to question, as preprocess writes it.")
    for key, columns in value.items():
        where = f"{path}, {key}"
        if not isinstance(columns, dict):
            raise EvaluationError(f"{where}: must be an object with instruction and label.")
        try:
            first = resolve_audio(place.folder, key)
        except RecordError as err:
            raise EvaluationError(f"{where}: {err}") from err
        clips = _beside(first, columns, value) if first.is_file() or about.needs_audio else []
        yield _Row(columns, tuple(p.relative_to(root).as_posix() for p in clips), key, where)


def _beside(first: Path, columns: Mapping[str, Any], all_keys: Mapping[str, Any]) -> list[Path]:
    """The clips of a question, in order: those that are there, and those that must be (the first; the second of `file2`)."""

    def further(mark: str) -> Path:
        return first.with_name(f"{first.stem}_pair{mark}{first.suffix}")

    def there(clip: Path) -> bool:
        return clip.name not in all_keys and clip.is_file()

    found, number = [first, *filter(there, [further("")])], 2
    while there(further(str(number))):
        found.append(further(str(number)))
        number += 1
    if len(found) == 1 and columns.get("file2"):
        found.append(further(""))
    return found


def _parquet_rows(place: Place, work: Path, about: Instance) -> Iterator[_Row]:
    require_columns(place.parquet, ["instruction", "label"])
    columns = _in_order(audio_columns(place.parquet[0]))
    if not columns and about.needs_audio:
        raise EvaluationError(f"{place.parquet[0]}: has no column of audio; fetch the data with its audio.")
    for number, row in enumerate(read_rows(place.parquet, columns, work, about.name)):
        where = f"{place.folder}, row {number}"
        audios = tuple(row[c] for c in columns if row.get(c) is not None)
        kept = {k: _plain(v) for k, v in row.items() if k not in columns}
        yield _Row(kept, audios, "", where)


def _in_order(columns: Sequence[str]) -> list[str]:
    """audio, audio2, ..., audio10; of two that are named otherwise, the order of phase 2's preprocess."""
    known = [c for pair in _PAIRS for c in pair if c in columns]
    return [*known, *sorted((c for c in columns if c not in known), key=lambda c: (len(c), c))]


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=str))
    except ValueError as err:
        raise EvaluationError(f"a column of the data holds {value!r:.60}, which is no JSON ({err}).") from err


def _notes(items: Sequence[Item]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for item in items:
        counts[item.subset] = counts.get(item.subset, 0) + 1
    notes = ["No hash of a published version is known; which questions these are is told by the content hash."]
    first = [n for n in counts if instance(n).first_phase]
    lacking = [n for n in all_instances() if n not in counts]
    if first and lacking:
        notes.append(f"{len(first)} of the 55 instances of phase 1 are there; not there: {listed(lacking)}.")
    cut = [n for n in first if counts[n] > _OFTEN]
    if cut:
        notes.append(
            f"{len(cut)} instances have more than the {_OFTEN} questions to which the data was cut in March 2024 (first: {cut[0]}, {counts[cut[0]]})."
        )
    several = sum(len(i.audios) > 1 for i in items)
    if several:
        notes.append(
            f"{several} questions have several clips: they are heard one after another as clips of their own, not joined into one."
        )
    unasked = sum(bool(i.fields.get("text")) and not instance(i.subset).first_phase for i in items)
    if unasked:
        notes.append(
            f"{unasked} questions of phase 2 have a 'text' that is not shown: phase 2's scripts give the instruction alone."
        )
    sound = sorted({i.subset for i in items if instance(i.subset).category == "sound"})
    if sound:
        notes.append(f"{', '.join(sound)}: the answer is audio; nothing here scores it.")
    return tuple(notes)
