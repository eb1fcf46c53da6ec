"""Lhotse manifests read line by line, so that one bad cut is one bad cut, and ids cost no more than their line."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lhotse import CutSet, RecordingSet, SupervisionSet
from lhotse.serialization import decode_json_line, deserialize_item, open_best

from nemo_desta.errors import SelfGenError

__all__ = ["Unreadable", "cut_ids", "read_cuts"]

_LHOTSE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, AssertionError, OSError)


@dataclass(frozen=True)
class Unreadable:
    """Stands where Lhotse can make no cut of what a manifest says.

    Attributes:
        id: of the cut.
        problem: file, line, and what Lhotse says.
    """

    id: str
    problem: str


def read_cuts(path: str | os.PathLike[str], skip: int = 0) -> Iterator[Any]:
    """Stream the cuts of a manifest of cuts or recordings (`.jsonl`, `.jsonl.gz`), or of a Shar folder.

    The supervisions of recordings lie beside them, named in Lhotse's way: `x_recordings_train.jsonl.gz`,
    `x_supervisions_train.jsonl.gz`. A line that is no valid cut gives an `Unreadable`. The first `skip` cuts are left out,
    in a manifest of cuts without making anything of their lines.

    Raises:
        SelfGenError: no such file, no such manifest, or a line that is no JSON object with an id.
    """
    path = Path(path)
    joined = _joined(path)
    if joined is None:
        return (_cut(path, number, data) for number, data in _lines(path, skip))
    return islice(_guarded(path, joined), skip, None)


def cut_ids(path: str | os.PathLike[str]) -> Iterator[str]:
    """The ids of `read_cuts`, in order."""
    path = Path(path)
    joined = _joined(path)
    return (data["id"] for _, data in _lines(path)) if joined is None else (cut.id for cut in _guarded(path, joined))


def _joined(path: Path) -> CutSet | None:
    """The cuts of a Shar folder, or of recordings and their supervisions; None for a file with one cut a line."""
    if path.is_dir():
        return _checked(path, lambda: CutSet.from_shar(in_dir=path))
    if not path.is_file():
        raise SelfGenError(f"{path}: no such file; give a Lhotse manifest of cuts or recordings, or a Shar folder.")
    if ".jsonl" not in path.suffixes:
        raise SelfGenError(f"{path}: manifests are read from .jsonl or .jsonl.gz; convert it with `lhotse copy`.")
    first = next(_lines(path), (0, {"type": "Cut"}))[1]
    if "type" in first:
        return None
    if "sources" not in first:
        kind = "SupervisionSet" if "recording_id" in first else "manifest of another kind"
        raise SelfGenError(f"{path}: not a Lhotse manifest of cuts or recordings but a {kind}.")
    beside = path.with_name(path.name.replace("recordings", "supervisions"))
    has_supervisions = beside != path and beside.is_file()
    return _checked(
        path,
        lambda: CutSet.from_manifests(
            recordings=RecordingSet.from_file(path),
            supervisions=SupervisionSet.from_file(beside) if has_supervisions else None,
        ),
    )


def _lines(path: Path, skip: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_best(path, "r") as lines:
        written = ((number, line) for number, line in enumerate(lines, 1) if not line.isspace())
        for number, line in islice(written, skip, None):
            try:
                data = decode_json_line(line)
            except (ValueError, RecursionError) as err:
                raise SelfGenError(f"{path}:{number}: not valid JSON ({err}); repair or remove the line.") from err
            if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not data["id"]:
                raise SelfGenError(
                    f"{path}:{number}: it has no id, so this is no Lhotse manifest of cuts or recordings, or a broken line."
                )
            yield number, data


def _cut(path: Path, number: int, data: dict[str, Any]) -> Any:
    cut_id = data["id"]
    try:
        cut = deserialize_item(data)
    except _LHOTSE_ERRORS as err:
        return Unreadable(cut_id, f"{path}:{number}: not readable by Lhotse ({type(err).__name__}: {err})")
    if not hasattr(cut, "supervisions"):
        return Unreadable(cut_id, f"{path}:{number}: a {type(cut).__name__} among cuts")
    return cut


def _guarded(path: Path, manifest: Any) -> Iterator[Any]:
    stream = iter(manifest)
    while True:
        try:
            cut = next(stream)
        except StopIteration:
            return
        except _LHOTSE_ERRORS as err:
            raise _unreadable(path, err) from err
        yield cut


def _checked(path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except _LHOTSE_ERRORS as err:
        raise _unreadable(path, err) from err


def _unreadable(path: Path, err: Exception) -> SelfGenError:
    return SelfGenError(f"{path}: not readable as a Lhotse manifest ({type(err).__name__}: {err}).")
