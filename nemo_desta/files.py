"""Files that are whole or not there, and safe on disk when they are: JSON, folders in use, configurations."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import orjson

from nemo_desta.errors import SelfGenError

__all__ = [
    "check_manifest",
    "json_bytes",
    "json_value",
    "lock_directory",
    "sync_folder",
    "whole_file",
    "whole_files",
    "write_json",
]


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """One line of compact JSON, without the newline."""
    try:
        return orjson.dumps(value)
    except TypeError:  # half a surrogate pair, an integer beyond 64 bits: what JSON can spell and orjson refuses
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def json_value(payload: bytes) -> Any:
    """What JSON says; ValueError when it is none."""
    try:
        return orjson.loads(payload)
    except ValueError:
        return json.loads(payload.decode("utf-8", "surrogatepass"))


@contextmanager
def whole_files(targets: Mapping[str, Path], shared: bool = False) -> Iterator[dict[str, BinaryIO]]:
    """Files to write that take their targets' places when all of them are whole and safe on disk, and none of them if not.

    Args:
        targets: by any key.
        shared: other processes may write the same targets at once; the last one wins.

    Raises:
        SelfGenError: the disk refuses.
    """
    mark = f".{uuid4().hex}" if shared else ""  # without it, what a killed process left is written over
    temporary = {s: p.with_name(f".{p.name}{mark}.tmp") for s, p in targets.items()}
    files: dict[str, BinaryIO] = {}
    try:
        for status, path in temporary.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            files[status] = path.open("wb")
        yield files
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for status, path in targets.items():
            os.replace(temporary[status], path)
            sync_folder(path.parent)
    except OSError as err:
        raise SelfGenError(
            f"{', '.join(map(str, targets.values()))}: cannot write ({err}); what was finished before is safe: "
            "make room and start again."
        ) from err
    finally:
        for status, file in files.items():
            file.raw.close()  # not close(): what a full disk refused is not to be tried again
            temporary[status].unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, shared: bool = False) -> Iterator[BinaryIO]:
    """`whole_files` for one file."""
    with whole_files({"": path}, shared) as files:
        yield files[""]


def check_manifest(path: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration of a new directory, or refuse one that differs from what the directory was begun with.

    Raises:
        SelfGenError: showing each value that differs.
    """
    config = json.loads(json.dumps(config, sort_keys=True))
    if not path.exists():
        write_json(path, config)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SelfGenError(f"{path}: not readable as JSON ({err}); restore it, or use a new output directory.") from err
    old, new = dict(_flat(before)), dict(_flat(config))
    changed = [
        f"  {k}: {_show(old, k)} -> {_show(new, k)}"
        for k in sorted(old.keys() | new.keys())
        if old.get(k, "\0") != new.get(k, "\0")
    ]
    if changed:
        raise SelfGenError(
            f"{path.parent}: begun with another configuration; changed:\n"
            + "\n".join(changed)
            + "\nUse a new output directory, or the old values."
        )


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _show(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "(absent)"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically and durably.

    Raises:
        SelfGenError: the disk refuses; what was there before is as it was.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    with whole_file(path, shared=True) as out:  # shards write the same manifest
        out.write(text.encode())


def sync_folder(path: Path) -> None:
    """fsync a directory, so that a rename or a new file in it survives a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def lock_directory(path: Path, part: str = "") -> Iterator[None]:
    """Hold the output directory, or the named part of it, for this process; the lock goes with the process, however it ends.

    Raises:
        SelfGenError: another process holds it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / f".lock{part}").open("a+")
    except OSError as err:
        raise SelfGenError(f"{path}: cannot write there ({err}); choose another output directory.") from err
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            file.seek(0)
            raise SelfGenError(
                f"{path}: process {file.read().strip() or '?'} is writing to it; wait for it, or use another output directory."
            ) from err
        # Who holds it is told for convenience; a full disk need not stop a run that is complete.
        with suppress(OSError):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield
