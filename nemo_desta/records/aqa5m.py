"""Import of DeSTA-AQA5M: its released rows and the audio at hand to records.

The release (`DeSTA-ntu/DeSTA-AQA5M-FROM-Llama3.1-8B-Instruct`: audio.0.jsonl ... speech.9.jsonl) has the fields id, dataset,
seed_description, prompt, response and messages, and no audio. Clip paths are relative to one data root, a folder for each
corpus, such as `LibriTTS_R/train-clean-360/93/...wav`; `id` is the relative path of the audio (the official docs/dataset.md),
so rows about the same clip share it.

    first reading: ids and corpora     second: look for audio, in blocks -> records.jsonl, missing.jsonl, failed.jsonl

Progress is committed after every block; a run that was stopped goes on from there and writes the same files.
"""

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from nemo_desta.audio import load_audio
from nemo_desta.errors import AudioError, ConfigError, RecordError
from nemo_desta.files import lock_directory, write_json
from nemo_desta.record import Message, Record, resolve_audio
from nemo_desta.records.aqa5m_config import ImportConfig, ImportSummary
from nemo_desta.records.ids import IdHashes
from nemo_desta.records.journal import Journal, begin, sweep
from nemo_desta.records.lines import START, Line, fingerprint, input_files, parse, read_lines

__all__ = ["SCHEMA", "ImportConfig", "ImportSummary", "import_aqa5m", "run"]

SCHEMA = ImportConfig
_BLOCK = 2000  # rows between two commits
_MAX_CORPORA = 10_000  # names that are remembered to compare path_map with


def run(cfg: Any) -> ImportSummary:
    """Import released DeSTA-AQA5M files (conf/import_aqa5m.yaml); prints a table of the corpora."""
    from omegaconf import OmegaConf

    from nemo_desta.schema import from_dict

    plain = OmegaConf.to_container(cfg, resolve=True) if not isinstance(cfg, dict) else cfg
    summary = import_aqa5m(from_dict(ImportConfig, plain))
    tqdm.write(str(summary))
    return summary


def import_aqa5m(config: ImportConfig) -> ImportSummary:
    """Import the released rows whose audio is at hand.

    Args:
        config: the settings.

    Returns:
        The summary; a finished import is left as it is.

    Raises:
        ConfigError: a setting is wrong, or `path_map` names a corpus of which there is no row.
        RecordError: the input is unusable, more than `max_failed` of the rows are no records, more than `max_missing` are
            without audio, or ids repeat and are refused. What was finished stays.
        SelfGenError: the folder is in use, or was begun with other settings.
    """
    config.checked()
    paths, output = input_files(config.records), Path(config.output_dir)
    if not Path(config.audio_root).is_dir():
        raise ConfigError(f"audio_root={config.audio_root}: no such folder.")
    for corpus, folder in config.path_map.items():
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            raise ConfigError(
                f"path_map.{corpus}={folder}: must be below audio_root, without '..'; a symbolic link there may point anywhere."
            )
    with lock_directory(output):
        source = fingerprint(paths)
        if begin(output, "import.json", {"made_by": "import-aqa5m", "source": source, **_decisive(config)}):
            before = json.loads((output / "import.json").read_text(encoding="utf-8"))
            summary = ImportSummary(**{**before, "new_rows": 0, "seconds": 0.0})
        else:
            summary = _Import(config, paths, source).execute()
    _check_missing(summary, config)
    return summary


def _decisive(config: ImportConfig) -> dict[str, Any]:
    keys = ("path_map", "other_endings", "check", "backbone")
    return {"audio_root": str(Path(config.audio_root).absolute()), **{k: getattr(config, k) for k in keys}}


def _check_missing(summary: ImportSummary, config: ImportConfig) -> None:
    if config.max_missing is not None and summary.missing > config.max_missing * summary.total:
        raise RecordError(
            f"{summary}\n{summary.missing} of {summary.total} rows are without audio, more than max_missing="
            f"{config.max_missing:g} allows; missing.jsonl says what was looked for. The records found are in place."
        )


class _Import:
    """One import into a locked folder."""

    def __init__(self, config: ImportConfig, paths: list[Path], source: str) -> None:
        self.config, self.paths, self.source = config, paths, source
        self.root, self.output = Path(config.audio_root), Path(config.output_dir)
        names = ("records", "missing", "failed")
        self.journal = Journal(self.output, {n: self.output / f"{n}.jsonl" for n in names})
        self.total = self.new_rows = self.repeated = 0
        self.occurrence = np.zeros(0, np.int32)

    def execute(self) -> ImportSummary:
        started = time.monotonic()
        try:
            self._scan()
            self._rows()
            self.journal.publish()
        except OSError as err:
            raise RecordError(
                f"{self.output}: cannot write ({err}); what was finished is safe: make room and start again."
            ) from err
        finally:
            self.journal.close()
        state = self.journal.state
        if state["found"] + state["missing"] + state["failed"] != self.total:
            raise RecordError(f"{state} does not add up to {self.total} rows; the input changed meanwhile.")
        summary = ImportSummary(
            self.total, state["found"], state["missing"], state["failed"], state["other_ending"], self.repeated,
            state["corpora"], self.source, round(time.monotonic() - started, 1), self.new_rows,
            str(self.output / "records.jsonl"),
        )  # fmt: skip
        write_json(self.output / "import.json", dataclasses.asdict(summary))
        sweep(self.output)
        return summary

    def _scan(self) -> None:
        """First reading: count the rows, find the ids that repeat, and check the names in `path_map`."""
        ids, corpora = IdHashes(), set()
        for line in tqdm(read_lines(self.paths), unit="row", desc="reading", disable=not self.config.progress):
            row = _loads(line.data)
            ids.add(f"\0{line.where}" if row.get("id") is None else str(row["id"]))
            if len(corpora) < _MAX_CORPORA:
                corpora.add(str(row.get("dataset", "")))
        self.total, self.repeated, self.occurrence = len(ids), ids.repeated(), ids.occurrences()
        if not self.total:
            raise RecordError(f"{', '.join(map(str, self.paths[:5]))}: no row in it; there is nothing to import.")
        unknown = sorted(set(self.config.path_map) - corpora)
        if unknown:
            near = {n: get_close_matches(n, corpora, 1) for n in unknown}
            told = ", ".join(f"{n!r}" + (f" (is {m[0]!r} meant?)" if m else "") for n, m in near.items())
            raise ConfigError(f"path_map: no row is of the corpus {told}; there are {', '.join(sorted(corpora)[:60])}.")
        if self.repeated and self.config.repeated_ids == "refuse":
            raise RecordError(
                f"{self.repeated} rows have an id that stands before; repeated_ids=number keeps them apart."
            )

    def _rows(self) -> None:
        counts = dict.fromkeys(("found", "missing", "failed", "other_ending"), 0)
        state = self.journal.state or {"position": list(START), "row": 0, **counts, "corpora": {}}
        lines = read_lines(self.paths, tuple(state["position"]))
        bar = tqdm(total=self.total, initial=state["row"], unit="row", desc="import",
                   disable=not self.config.progress, mininterval=1.0)  # fmt: skip
        with bar, ThreadPoolExecutor(self.config.workers) as pool:
            while block := list(islice(lines, _BLOCK)):
                self._block(block, state, pool)
                state["position"], state["row"] = list(block[-1].after), state["row"] + len(block)
                self.journal.commit(state)
                self.new_rows += len(block)
                bar.update(len(block))

    def _block(self, block: list[Line], state: dict[str, Any], pool: ThreadPoolExecutor) -> None:
        parsed = [parse(line) for line in block]
        wanted = {(r.dataset, a.audio) for r in parsed if isinstance(r, Record) for a in r.audios}
        places = self._look(sorted(wanted), pool)
        for number, (line, record) in enumerate(zip(block, parsed, strict=True), state["row"]):
            if isinstance(record, str):
                self._fail(line, record, state)
                continue
            corpus = state["corpora"].setdefault(record.dataset, {"rows": 0, "found": 0, "missing": 0})
            corpus["rows"] += 1
            here = {a.audio: places[record.dataset, a.audio] for a in record.audios}
            wrong = next((p.reason for p in here.values() if p.reason), None)
            status = "missing" if wrong else "found"
            state[status] += 1
            corpus[status] += 1
            if wrong:
                row = {"id": record.id, "dataset": record.dataset, "audio": list(here), "reason": wrong}
                self.journal.write("missing", {**row, **self._where(line)})
            else:
                state["other_ending"] += any(p.other_ending for p in here.values())
                self.journal.write("records", self._record(record, line, here, int(self.occurrence[number])).to_dict())

    def _where(self, line: Line) -> dict[str, Any]:
        return {"file": self.paths[line.after[0]].name, "line": line.after[2]}

    def _record(self, record: Record, line: Line, here: Mapping[str, "_Place"], earlier: int) -> Record:
        provenance = {"source": "DeSTA-AQA5M", **self._where(line)}
        if self.config.backbone:
            provenance["backbone"] = self.config.backbone
        if earlier:
            provenance["released_id"] = record.id
        return dataclasses.replace(
            record,
            id=f"{record.id}#{earlier + 1}" if earlier else record.id,
            messages=tuple(_moved(m, here) for m in record.messages),
            provenance={**(record.provenance or {}), **provenance},
        )

    def _fail(self, line: Line, reason: str, state: dict[str, Any]) -> None:
        state["failed"] += 1
        row = {**self._where(line), "reason": reason, "text": line.text}
        self.journal.write("failed", row)
        if state["failed"] > self.config.max_failed * self.total:
            raise RecordError(
                f"{state['failed']} of {self.total} rows are no records, more than max_failed={self.config.max_failed:g} "
                f"allows; the last: {reason} Fetch the file again, or raise max_failed and start again."
            )

    def _look(self, wanted: list[tuple[str, str]], pool: ThreadPoolExecutor) -> dict[tuple[str, str], "_Place"]:
        """Where the clips of a block are; every thread takes a run of neighbours."""
        size = -(-len(wanted) // self.config.workers) or 1
        parts = [wanted[i : i + size] for i in range(0, len(wanted), size)]
        found: Iterator[list[_Place]] = pool.map(lambda part: [self._find(*w) for w in part], parts)
        return {
            w: place for part, places in zip(parts, found, strict=True) for w, place in zip(part, places, strict=True)
        }

    def _find(self, corpus: str, audio: str) -> "_Place":
        mapped = _mapped(audio, self.config.path_map.get(corpus))
        reason = ""
        for path in _candidates(mapped, self.config.other_endings):
            try:
                problem = self._problem(resolve_audio(self.root, path))
            except (RecordError, ValueError, OSError) as err:
                problem = str(err)
            if problem is None:
                return _Place(path, path != mapped)
            reason = reason or problem
        return _Place(audio, False, reason)

    def _problem(self, path: Path) -> str | None:
        """What speaks against the file."""
        if not path.is_file():
            return f"no file {path.relative_to(self.root).as_posix()}"
        if path.stat().st_size == 0:
            return f"{path.relative_to(self.root).as_posix()} is empty (0 bytes)"
        if self.config.check == "decode":
            try:
                load_audio(path)
            except AudioError as err:
                return str(err)
        return None


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a clip was found, relative to the root, or the reason why not."""

    audio: str
    other_ending: bool
    reason: str = ""


def _mapped(audio: str, folder: str | None) -> str:
    """The path with its first folder replaced."""
    if folder is None:
        return audio
    return str(PurePosixPath(folder, *PurePosixPath(audio).parts[1:]))


def _candidates(path: str, endings: list[str]) -> list[str]:
    """The path, and the same with other endings."""
    plain = PurePosixPath(path)
    return [path, *(str(plain.with_suffix(e)) for e in endings if plain.name and plain.suffix != e)]


def _moved(message: Message, here: Mapping[str, _Place]) -> Message:
    audios = tuple(dataclasses.replace(a, audio=here[a.audio].audio) for a in message.audios)
    return dataclasses.replace(message, audios=audios)


def _loads(data: bytes) -> dict[str, Any]:
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
