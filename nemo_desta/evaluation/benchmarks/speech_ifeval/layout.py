"""Speech-IFEval's files: data/eval_data/*.jsonl of a clone, and the hub's audios.tar unpacked to data/audios.

A row: audio_filepath, textual_audio (what the speech says, with gender and emotion; older files call it seed_transcript),
instruction, dataset, metric (wer, accuracy, open, cot), label where there is one; with a constraint also instruction_id_list and
kwargs, of one entry each. Chain-of-thought rows have no id; ids of the closed set with and without constraint are the same
numbers, so that here every id begins with its part.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from nemo_desta.errors import EvaluationError, RecordError
from nemo_desta.evaluation.benchmarks.speech_ifeval.judged import protocol
from nemo_desta.evaluation.benchmarks.speech_ifeval.strict import GROUPS
from nemo_desta.evaluation.items import Data, Item, content_hash, unique
from nemo_desta.evaluation.reading import read_json, read_jsonl, text_of
from nemo_desta.record import resolve_audio

__all__ = ["DOWNLOAD", "FILES", "PARTS", "Names", "facts", "load", "part_of"]

FILES = {
    "closed": ("closed_ended_questions.jsonl", "close.jsonl"),
    "creative": ("creative_writing.jsonl", "open.jsonl"),
    "cot": ("chain-of-thought.jsonl",),
    "closed_woprompt": ("closed_ended_questions-woprompt.jsonl", "close-woprompt.jsonl"),
}
"""Part -> names of its file, the present one first."""
PARTS = tuple(FILES)
DOWNLOAD = (
    "Speech-IFEval: git clone https://github.com/kehanlu/Speech-IFEval and give the clone; for runs that hear, download "
    "audios.tar of the dataset kehanlu/Speech-IFEval and unpack it in the clone's data/ (tar -xf audios.tar), which makes data/audios/."
)
_METRICS = {"open": "creative", "cot": "cot", "wer": "closed", "accuracy": "closed"}
_KEYS = ("id", "key", "audio_filepath", "instruction", "dataset", "metric", "instruction_id_list", "kwargs", "label")
_SIZES = {"closed": 933, "creative": 400, "cot": 200, "closed_woprompt": 933}
_TRANSCRIPTS = "audio_id2seed_transcript.json"


class Names:
    """Ids of rows: `<part>/<id>`; without an id `<part>/<audio path without its ending>`, "#2" after the second of one clip."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def of(self, part: str, row: Mapping[str, Any]) -> str:
        """The id of the next row."""
        if row.get("id") is not None:
            return f"{part}/{row['id']}"
        name = f"{part}/{PurePosixPath(row['audio_filepath']).with_suffix('')}"
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"


def part_of(row: Mapping[str, Any], where: str) -> str:
    """Which part a row belongs to, by its metric and by whether it has a constraint.

    Raises:
        EvaluationError: the metric is another.
    """
    part = _METRICS.get(str(row.get("metric")))
    if part is None:
        raise EvaluationError(f"{where}: metric must be one of {', '.join(_METRICS)}, it is {row.get('metric')!r}.")
    return "closed_woprompt" if part == "closed" and not row.get("instruction_id_list") else part


def facts(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a scorer needs of a row, under today's names.

    Raises:
        EvaluationError: a text is missing, or constraint and arguments are not one each.
    """
    for key in ("audio_filepath", "instruction"):
        text_of(dict(row), key, where)
    part = part_of(row, where)
    found = {k: row[k] for k in _KEYS if k in row}
    if part in ("closed", "creative"):
        ids, kwargs = row.get("instruction_id_list"), row.get("kwargs")
        if not (isinstance(ids, list) and isinstance(kwargs, list) and len(ids) == len(kwargs) == 1):
            raise EvaluationError(f"{where}: instruction_id_list and kwargs must be lists of one entry each.")
        if not isinstance(kwargs[0], dict):
            raise EvaluationError(f"{where}: the entry of kwargs must be an object, it is {kwargs[0]!r}.")
    if row["metric"] in ("wer", "accuracy"):
        text_of(dict(row), "label", where)
    heard = row.get("textual_audio", row.get("seed_transcript"))
    return found if heard is None else {**found, "textual_audio": heard}


def load(source: Path, subsets: Sequence[str] = ()) -> Data:
    """See `Benchmark.load`."""
    unknown = [s for s in subsets if s not in PARTS]
    if unknown:
        raise EvaluationError(f"Speech-IFEval has the parts {', '.join(PARTS)}, not {unknown[0]!r}.")
    folder = _data_folder(source)
    files = {part: _file(folder, part) for part in subsets or PARTS}
    there = {part: path for part, path in files.items() if path}
    if not there:
        raise EvaluationError(f"{source}: holds no eval_data/{FILES['closed'][0]} and none of the others. {DOWNLOAD}")
    transcripts = _transcripts(folder)
    items = tuple(item for part, path in there.items() for item in _items(path, part, folder / "audios", transcripts))
    unique(items, str(folder))
    clone = folder.parent
    texts = protocol(clone) if (clone / "script" / "llm_evaluation.py").is_file() else {}
    known, notes = _version(items, there)
    notes += [f"The part {part} is not there ({' or '.join(FILES[part])})." for part in files if part not in there]
    notes += _audio_notes(items, folder / "audios")
    return Data(folder / "audios", items, content_hash(i.fields for i in items), known, tuple(notes), texts)


def _data_folder(source: Path) -> Path:
    """The folder above eval_data, whichever of clone, data and eval_data was given."""
    if source.name == "eval_data" and source.is_dir():
        return source.parent
    return next((p for p in (source / "data", source) if (p / "eval_data").is_dir()), source)


def _file(folder: Path, part: str) -> Path | None:
    return next((p for p in (folder / "eval_data" / name for name in FILES[part]) if p.is_file()), None)


def _transcripts(folder: Path) -> Mapping[str, Any]:
    path = folder / _TRANSCRIPTS
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise EvaluationError(f"{path}: must hold an object of audio path to text.")
    return value


def _items(path: Path, part: str, audios: Path, transcripts: Mapping[str, Any]) -> Iterable[Item]:
    names = Names()
    for where, row in read_jsonl(path):
        fields = facts(row, where)
        if part_of(row, where) != part:
            raise EvaluationError(f"{where}: a row of the part {part_of(row, where)} in the file of the part {part}.")
        audio = fields["audio_filepath"]
        try:
            resolve_audio(audios, audio)
        except RecordError as err:
            raise EvaluationError(f"{where}: {err}") from err
        text = fields.get("textual_audio", transcripts.get(audio))
        yield Item(names.of(part, row), (audio,), row["instruction"], part, part, text, fields)


def _version(items: Sequence[Item], there: Mapping[str, Path]) -> tuple[str | None, list[str]]:
    """The published version by its numbers of rows and the 13 instructions."""
    sizes = Counter(i.subset for i in items)
    other = [f"{part} {sizes[part]} (published: {_SIZES[part]})" for part in there if sizes[part] != _SIZES[part]]
    strange = {i.fields["instruction_id_list"][0] for i in items if i.subset in ("closed", "creative")} - GROUPS.keys()
    if other or strange:
        more = f" with other instructions: {', '.join(sorted(map(str, strange)))}" if strange else ""
        return None, [f"Not the published data: {', '.join(other) or 'rows'}{more}."]
    return "e2e9c14 (by its numbers of rows and its instructions)", []


def _audio_notes(items: Sequence[Item], audios: Path) -> list[str]:
    missing = sum(not (audios / i.audios[0]).is_file() for i in items)
    if not missing:
        return []
    return [f"{missing} of {len(items)} audio files are not under {audios.parent.name}/{audios.name}. {DOWNLOAD}"]
