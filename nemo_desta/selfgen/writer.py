"""Exactly-once output: a work log that survives `kill -9`, sealed into ordered files at the end.

While the work runs, each finished row is one line `<crc32 in hex> <json>` in `<dir>/.work/<name>.log`, fsynced every
few rows. A line that was torn by a crash fails its checksum: torn tails are cut off, damaged lines elsewhere are
skipped, and the rows they held are simply made again. Sealing writes the rows in input order to temporary files, then
fsync, rename, fsync of the folder; only then is the log removed.
"""

import fcntl
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import orjson

from nemo_desta.errors import SelfGenError

__all__ = [
    "STATUSES",
    "WorkLog",
    "check_manifest",
    "encode_line",
    "json_bytes",
    "json_value",
    "lock_directory",
    "parse_log",
    "seal",
    "write_json",
]

STATUSES = ("ok", "filtered", "failed")


def encode_line(row: Mapping[str, Any]) -> bytes:
    """One log line: checksum, space, JSON, newline."""
    payload = json_bytes(row)
    return b"%08x " % zlib.crc32(payload) + payload + b"\n"


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


def parse_log(stream: BinaryIO) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """(offset, length, row) of each line; row is None where the line is torn or damaged."""
    offset = 0
    for line in stream:
        yield offset, len(line), _decode_line(line)
        offset += len(line)


def _decode_line(line: bytes) -> dict[str, Any] | None:
    if len(line) < 11 or line[8:9] != b" " or not line.endswith(b"\n"):
        return None
    payload = line[9:-1]
    if line[:8] != b"%08x" % zlib.crc32(payload):
        return None
    try:
        row = json_value(payload)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("id"), str) and row.get("status") in STATUSES else None


class WorkLog:
    """Append-only log of finished rows: dicts with `id` (unique), `status` (ok, filtered, failed) and content.

    Args:
        path: the log file; what it holds already counts as done.
        sync_every: rows between two fsyncs; at most so many are made again after a power cut.

    Attributes:
        done: id -> offset of its line.
        failed: the ids among them whose row says "failed"; appending another row replaces it.
        damaged: lines that were skipped because their checksum failed.
    """

    def __init__(self, path: str | os.PathLike[str], sync_every: int = 16) -> None:
        self.path = Path(path)
        self.sync_every = sync_every
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.done: dict[str, int] = {}
        self.failed: set[str] = set()
        self.damaged = 0
        is_new = not self.path.exists()
        self._file = self.path.open("ab+")
        self._recover()
        self._pending = 0
        if is_new:
            sync_folder(self.path.parent)

    def _recover(self) -> None:
        self._file.seek(0)
        good_end = 0
        bad_before_good = bad = 0
        for offset, length, row in parse_log(self._file):
            if row is None:
                bad += 1
                continue
            good_end, bad_before_good = offset + length, bad
            self._count(row, offset)
        self.damaged = bad_before_good
        self._file.truncate(good_end)
        self._file.seek(good_end)
        os.fsync(self._file.fileno())
        self._end = good_end

    def _count(self, row: Mapping[str, Any], offset: int) -> bool:
        if row["id"] in self.done and row["id"] not in self.failed:
            return False
        self.done[row["id"]] = offset
        (self.failed.add if row["status"] == "failed" else self.failed.discard)(row["id"])
        return True

    def append(self, row: Mapping[str, Any]) -> bool:
        """Add one finished row. One that is there already is left as it is, so no id can stand twice.

        Returns:
            Whether it was added.

        Raises:
            SelfGenError: the disk refuses (full, gone); what was written before is safe.
        """
        if row["id"] in self.done and row["id"] not in self.failed:
            return False
        line = encode_line(row)
        with self._writing():
            self._file.write(line)
        self._pending += 1
        if self._pending >= self.sync_every:
            self.sync()
        self._count(row, self._end)
        self._end += len(line)
        return True

    def sync(self) -> None:
        """Make everything appended so far survive a power cut.

        Raises:
            SelfGenError: the disk refuses.
        """
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._pending = 0

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            self._file.raw.close()  # what is still in the buffer is not to be tried again at each turn
            raise SelfGenError(
                f"{self.path}: cannot write ({err}); rows finished before are safe: make room and start again."
            ) from err

    def read(self, row_id: str) -> dict[str, Any]:
        """The row of one id.

        Raises:
            SelfGenError: the line no longer passes its checksum.
        """
        self._file.flush()
        with self.path.open("rb") as stream:
            return self._read_at(stream, row_id)

    def rows(self, order: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Rows in the given order of ids, read from disk one by one."""
        self._file.flush()
        with self.path.open("rb") as stream:
            for row_id in order:
                yield self._read_at(stream, row_id)

    def _read_at(self, stream: BinaryIO, row_id: str) -> dict[str, Any]:
        stream.seek(self.done[row_id])
        row = _decode_line(stream.readline())
        if row is None or row["id"] != row_id:
            raise SelfGenError(
                f"{self.path}: the line of {row_id!r} was changed on disk; start again, it will be made anew."
            )
        return row

    def close(self) -> None:
        """Sync and close."""
        if not self._file.closed:
            self.sync()
            self._file.close()


def seal(
    log: WorkLog, order: Callable[[], Iterable[str]], targets: Mapping[str, Path]
) -> tuple[dict[str, int], dict[str, int]]:
    """Write the rows in input order to their final files, each whole or not at all.

    Args:
        log: holding a row for every id of `order`.
        order: gives the ids in input order, anew at each call.
        targets: status -> file; a row's content is its `record`, with `reason` for filtered and failed rows.

    Returns:
        Rows written by status, and how often each reason for filtering occurred (failures together).

    Raises:
        SelfGenError: an id has no row.
    """
    log.sync()
    counts, reasons = dict.fromkeys(targets, 0), Counter()
    with _whole_files(targets) as files:
        for row in log.rows(_known(order(), log)):
            content = row["record"] if row["status"] == "ok" else {**row["record"], "reason": row["reason"]}
            files[row["status"]].write(json_bytes(content) + b"\n")
            counts[row["status"]] += 1
            if row["status"] != "ok":
                reasons[f"filtered: {row['reason']}" if row["status"] == "filtered" else row["status"]] += 1
    return counts, dict(reasons)


@contextmanager
def _whole_files(targets: Mapping[str, Path]) -> Iterator[dict[str, BinaryIO]]:
    """Files to write that take their targets' places when all of them are whole and safe on disk."""
    temporary = {s: p.with_name(f".{p.name}.tmp") for s, p in targets.items()}
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
            f"cannot write the finished files ({err}); the work log is safe: make room and start again."
        ) from err
    finally:
        for status, file in files.items():
            file.raw.close()  # not close(): what a full disk refused is not to be tried again
            temporary[status].unlink(missing_ok=True)


def _known(order: Iterable[str], log: WorkLog) -> Iterator[str]:
    for row_id in order:
        if row_id not in log.done:
            raise SelfGenError(f"{log.path}: no finished row for {row_id!r}; the input changed while it was worked on.")
        yield row_id


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
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")  # shards may write the same manifest at once
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as out:
            json.dump(value, out, ensure_ascii=False, indent=2, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as err:
        temporary.unlink(missing_ok=True)
        raise SelfGenError(f"{path}: cannot write ({err}); make room and start again.") from err


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
        with suppress(
            OSError
        ):  # who holds it is told for convenience; a full disk need not stop a run that is complete
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield
