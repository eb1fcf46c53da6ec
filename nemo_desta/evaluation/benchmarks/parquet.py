"""Parquet files as the hub serves them: rows streamed, audio unpacked into files."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nemo_desta.errors import EvaluationError

__all__ = ["audio_columns", "find_parquet", "read_rows", "require_columns"]

_ROWS_AT_ONCE = 64
_MAGIC = (
    (b"RIFF", ".wav"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\xff\xf3", ".mp3"),
)


def find_parquet(folder: Path, name: str) -> list[Path]:
    """The files of the data set `name` under a folder, in order: <name>/**.parquet, data/<name>-*.parquet, or <name>-*.parquet."""
    if not folder.is_dir():
        return []
    inside = sorted((folder / name).rglob("*.parquet")) if (folder / name).is_dir() else []
    return inside or sorted([*folder.glob(f"data/{name}-*.parquet"), *folder.glob(f"{name}-*.parquet")])


def audio_columns(path: Path) -> list[str]:
    """The columns of a file that hold audio: objects of bytes and path.

    Raises:
        EvaluationError: the file is no parquet file.
    """
    return [
        f.name for f in _open(path).schema_arrow if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0
    ]


def require_columns(files: Sequence[Path], columns: Sequence[str]) -> None:
    """Refuse files that lack columns.

    Raises:
        EvaluationError: naming the file, what it lacks and what it has; or the file is no parquet file.
    """
    for path in files:
        has = _open(path).schema_arrow.names
        lacking = [c for c in columns if c not in has]
        if lacking:
            raise EvaluationError(f"{path}: lacks the columns {', '.join(lacking)}; it has {', '.join(has)}.")


def read_rows(files: Sequence[Path], audio_columns: Sequence[str], work: Path, prefix: str) -> Iterator[dict[str, Any]]:
    """The rows of some files as plain Python, a few at a time.

    Args:
        files: of one data set, in order.
        audio_columns: columns whose values are {"bytes", "path"}; those that a file lacks are left out.
        work: their sounds go to work/audio/<prefix>/<row>[_<column>]<suffix>; the suffix is that of the bytes' own format. What
            lies there already with the same size is kept.
        prefix: folder of the data set; no part of it comes from the data.

    Yields:
        Each row; in its audio columns the path relative to `work`, None where there is no audio.

    Raises:
        EvaluationError: a file is no parquet file or is cut off, or audio is in no format that is known.
    """
    number = 0
    for path in files:
        opened = _open(path)
        audio = [c for c in audio_columns if c in opened.schema_arrow.names]
        try:
            for batch in opened.iter_batches(_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    for column in audio:
                        suffix = "" if column == audio_columns[0] else f"_{column}"
                        stem = Path("audio", prefix, f"{number:06d}{suffix}")
                        row[column] = _unpacked(row[column], stem, work, f"{path}, row {number}")
                    yield row
                    number += 1
        except (pa.ArrowException, OSError) as err:
            raise EvaluationError(f"{path}: cannot be read ({err}); fetch it again.") from err


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as err:
        raise EvaluationError(f"{path}: is no whole parquet file ({err}); fetch it again.") from err


def _unpacked(value: Any, stem: Path, work: Path, where: str) -> str | None:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        return None
    if not isinstance(content, bytes):
        raise EvaluationError(
            f"{where}: the audio is not in the file, which names {str(content)[:80]!r} only; fetch the data with its audio."
        )
    suffix = next((s for magic, s in _MAGIC if content.startswith(magic)), None)
    if suffix is None:
        raise EvaluationError(f"{where}: its audio is no wav, flac, ogg or mp3 (it begins with {content[:4]!r}).")
    relative = stem.with_name(stem.name + suffix)
    target = work / relative
    if not target.is_file() or target.stat().st_size != len(content):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        partial.write_bytes(content)
        os.replace(partial, target)
    return relative.as_posix()
