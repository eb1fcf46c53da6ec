"""JSON and JSONL files written by others: every entry with its place, and errors that name it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError

__all__ = ["files_in", "read_entries", "read_json", "read_jsonl", "text_of"]

_SCORES = b'{\n  "benchmark": "'


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        EvaluationError: missing, unreadable, or cut off.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as err:
        raise EvaluationError(f"{path}: cannot be read ({err.strerror or err}); check the path.") from err
    except (ValueError, RecursionError) as err:
        raise EvaluationError(f"{path}: is no JSON ({err}); was it cut off? Write or fetch it again.") from err


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file:line", object) of each line that is not blank.

    Raises:
        EvaluationError: a line is no JSON object; a last line that was cut off is named as such.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as err:
        raise EvaluationError(f"{path}: cannot be read ({err.strerror or err}); check the path.") from err
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as err:
            cut = number == len(lines)  # no newline after it
            told = (
                "the last line is cut off; remove it, or let the run that wrote it finish" if cut else "mend the line"
            )
            raise EvaluationError(f"{where}: is no JSON ({err}); {told}.") from err
        if not isinstance(value, dict):
            raise EvaluationError(f"{where}: must be a JSON object, it is {_short(value)}.")
        yield where, value


def read_entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list or of a JSONL file, each with its place.

    Raises:
        EvaluationError: neither, or an entry is no object.
    """
    if path.suffix == ".jsonl":
        return list(read_jsonl(path))
    value = read_json(path)
    if not isinstance(value, list):
        raise EvaluationError(f"{path}: must hold a JSON list of objects, it holds {_short(value)}.")
    for number, entry in enumerate(value, 1):
        if not isinstance(entry, dict):
            raise EvaluationError(f"{path}, entry {number}: must be a JSON object, it is {_short(entry)}.")
    return [(f"{path}, entry {number}", entry) for number, entry in enumerate(value, 1)]


def files_in(path: Path, suffixes: tuple[str, ...] = (".json", ".jsonl")) -> list[Path]:
    """The file itself, or the files under a folder with these suffixes, sorted; hidden ones and our own scores are left out.

    Raises:
        EvaluationError: there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(
        p
        for p in path.rglob("*")
        if p.suffix in suffixes and p.is_file() and not _hidden(p.relative_to(path)) and not _is_scores(p)
    )
    if not found:
        state = "holds no " + " or ".join(suffixes) + " file" if path.is_dir() else "does not exist"
        raise EvaluationError(f"{path}: {state}; give a file of answers, or a folder of them.")
    return found


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_scores(path: Path) -> bool:
    """Whether `eval score --json` wrote it, into the folder that it scored."""
    with path.open("rb") as file:
        return file.read(len(_SCORES)) == _SCORES


def text_of(entry: dict[str, Any], key: str, where: str) -> str:
    """A string of an entry.

    Raises:
        EvaluationError: the key is missing or holds no string.
    """
    value = entry.get(key)
    if not isinstance(value, str):
        keys = ", ".join(map(str, list(entry)[:12]))
        problem = f"must be text, it is {_short(value)}" if key in entry else f"is missing; there are: {keys}"
        raise EvaluationError(f"{where}: {key!r} {problem}.")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
