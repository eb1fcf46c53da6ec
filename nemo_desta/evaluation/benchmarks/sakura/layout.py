"""SAKURA's files: a clone (audio in git), the hub's parquet, and the result files of the official scripts.

data/{Animal,Emotion,Gender,Language}/metadata.csv: file, attribute_label, single_instruction, single_answer, multi_instruction,
multi_answer; the audio lies in audio/ beside it. Every row is two questions about one clip. 300 of 500 single answers of Emotion
begin with a blank (" (d) angry"): it stays in the gold text that a judge is shown, as officially, and choice-match drops it.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks.parquet import find_parquet, read_rows
from nemo_desta.evaluation.benchmarks.sakura.scoring import protocol
from nemo_desta.evaluation.items import Answer, Data, Item, content_hash, unique
from nemo_desta.evaluation.reading import files_in, read_json, text_of

__all__ = ["DOWNLOAD", "TRACKS", "load", "read"]

TRACKS = ("Animal", "Emotion", "Gender", "Language")
KINDS = ("single", "multi")
DOWNLOAD = (
    "SAKURA: git clone https://github.com/ckyang1124/SAKURA (about 310 MB, audio included) and give the clone; or download the "
    "datasets SLLM-multi-hop/{AnimalQA,EmotionQA,GenderQA,LanguageQA} into folders of these names and give the folder above them."
)
_COLUMNS = ("file", "attribute_label", *(f"{k}_{w}" for k in KINDS for w in ("instruction", "answer")))
_ROWS = 500
_LEADING_BLANKS = 300


def load(source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
    """See `Benchmark.load`."""
    unknown = [s for s in subsets if s not in TRACKS]
    if unknown:
        raise EvaluationError(f"SAKURA has the tracks {', '.join(TRACKS)}, not {unknown[0]!r}.")
    wanted = subsets or TRACKS
    root = source if (source / "data").is_dir() else source.parent if source.name == "data" else source
    cloned = {t: root / "data" / t / "metadata.csv" for t in wanted}
    if any(p.is_file() for p in cloned.values()):
        rows = {t: list(_csv_rows(p, t)) for t, p in cloned.items() if p.is_file()}
        texts = protocol(root) if (root / "evaluation" / "llm_judge.py").is_file() else {}
    else:
        files = {t: find_parquet(source, f"{t}QA") for t in wanted}
        rows = {t: list(_parquet_rows(f, t, work)) for t, f in files.items() if f}
        root, texts = work, {}
    if not rows:
        raise EvaluationError(
            f"{source}: holds neither data/<track>/metadata.csv nor <track>QA parquet files. {DOWNLOAD}"
        )
    items = tuple(item for track, found in rows.items() for row in found for item in _questions(track, row, root))
    unique(items, str(source))
    _check_audio(items, root)
    return Data(root, items, content_hash(i.fields for i in items), _known(rows), _notes(rows, wanted), texts)


def _csv_rows(path: Path, track: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = [c for c in _COLUMNS if c not in (reader.fieldnames or ())]
        if lacking:
            raise EvaluationError(
                f"{path}: lacks the columns {', '.join(lacking)}; it has {', '.join(reader.fieldnames or ())}."
            )
        for row in reader:
            where = f"{path}:{reader.line_num}"
            empty = [c for c in _COLUMNS if not (row[c] or "").strip()]
            if empty:
                raise EvaluationError(f"{where}: {', '.join(empty)} is empty; is the file whole?")
            if row["file"] != PurePosixPath(row["file"]).name or row["file"] in (".", ".."):
                raise EvaluationError(f"{where}: {row['file']!r} must be the plain name of a file in {track}/audio.")
            yield {**{c: row[c] for c in _COLUMNS}, "audio": f"data/{track}/audio/{row['file']}"}


def _parquet_rows(files: Sequence[Path], track: str, work: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(read_rows(files, ["audio"], work, f"sakura/{track}")):
        where = f"{files[0].parent}, row {number}"
        row["file"] = str(row.get("file") or f"{number}.wav")
        lacking = [c for c in _COLUMNS if not isinstance(row.get(c), str)]
        if lacking:
            raise EvaluationError(f"{where}: lacks {', '.join(lacking)}; it has {', '.join(map(str, row))}.")
        yield {**{c: row[c] for c in _COLUMNS}, "audio": row["audio"]}


def _questions(track: str, row: Mapping[str, str], root: Path) -> Iterator[Item]:
    for kind in KINDS:
        fields = {
            "attribute": track, "type": kind, "file": row["file"], "attribute_label": row["attribute_label"],
            "instruction": row[f"{kind}_instruction"], "label": row[f"{kind}_answer"], "audio": row["audio"],
        }  # fmt: skip
        described = f"({track}: {row['attribute_label'].strip()})"
        name = f"{track}/{kind}/{Path(row['file']).stem}"
        yield Item(name, (row["audio"],), row[f"{kind}_instruction"], kind, track, described, fields)


def _check_audio(items: Sequence[Item], root: Path) -> None:
    missing = sorted({a for i in items for a in i.audios if not (root / a).is_file()})
    if missing:
        raise EvaluationError(
            f"{root}: {len(missing)} of {len(items) // len(KINDS)} audio files are missing (first: {missing[0]}); "
            f"fetch the clone again. {DOWNLOAD}"
        )


def _known(rows: Mapping[str, Sequence[Any]]) -> str | None:
    """The published version by its marks: 500 rows a track, 300 leading blanks in Emotion."""
    full = all(len(rows.get(t, ())) == _ROWS for t in TRACKS)
    blanks = sum(r["single_answer"].startswith(" ") for r in rows.get("Emotion", ()))
    return "a1fdb14 (by 500 rows a track and 300 leading blanks)" if full and blanks == _LEADING_BLANKS else None


def _notes(rows: Mapping[str, Sequence[Any]], wanted: Sequence[str]) -> tuple[str, ...]:
    notes = [f"Track {t} is not there." for t in wanted if t not in rows]
    other = [f"{t} {len(r)}" for t, r in rows.items() if len(r) != _ROWS]
    if other:
        notes.append(f"Not the published data, which has {_ROWS} clips a track: {', '.join(other)}.")
    return tuple(notes)


def read(path: Path) -> list[Answer]:
    """See `Benchmark.read`."""
    answers = [answer for file in files_in(path, (".json",)) for answer in _results(file, path)]
    unique(answers, str(path))
    return answers


def _results(file: Path, given: Path) -> Iterator[Answer]:
    value = read_json(file)
    results = value.get("results") if isinstance(value, dict) else None
    if not isinstance(results, dict) or not results:
        raise EvaluationError(
            f"{file}: is no result file of SAKURA, which holds an object 'results' of audio path to answer."
        )
    for name, entry in results.items():
        where = f"{file}, {name}"
        if not isinstance(entry, dict):
            raise EvaluationError(f"{where}: must be an object with instruction, response and label.")
        track, kind = _track(value, name, where), _kind(value, file, given)
        fields = {
            "attribute": track, "type": kind, "file": PurePosixPath(name).name,
            "instruction": text_of(entry, "instruction", where), "label": text_of(entry, "label", where),
        }  # fmt: skip
        response = entry.get("response", entry.get("model_response"))
        if response is not None and not isinstance(response, str):
            raise EvaluationError(f"{where}: response must be text, it is {response!r}.")
        judged = {k: entry[k] for k in ("Explanation", "Judgement") if k in entry} or None
        if judged:
            judged["model"] = value.get("judge_model")
        yield Answer(f"{track}/{kind}/{PurePosixPath(name).stem}", response, fields, track, judged, where)


def _track(value: Mapping[str, Any], name: str, where: str) -> str:
    parts = [p.lower() for p in PurePosixPath(name).parts]
    stated = str(value.get("attribute", "")).lower()
    found = next((t for t in TRACKS if t.lower() == stated or t.lower() in parts), None)
    if found is None:
        raise EvaluationError(
            f"{where}: of which track? The file states no 'attribute', the path none of {', '.join(TRACKS)}."
        )
    return found


def _kind(value: Mapping[str, Any], file: Path, given: Path) -> str:
    """As the file states it, or (judge scripts drop it) the one of "single" and "multi" that its path holds."""
    if value.get("type") in KINDS:
        return value["type"]
    inside = file.relative_to(given.parent) if file.is_relative_to(given.parent) else file
    found = [k for k in KINDS if k in str(inside).lower()]
    if len(found) != 1:
        raise EvaluationError(
            f'{file}: of single or of multi-hop questions? State "type", or name the file or its folder so.'
        )
    return found[0]
