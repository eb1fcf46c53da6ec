"""Exactly-once output: a work log that survives `kill -9`, sealed into ordered files at the end.

While the work runs, each finished row is one line `<crc32 in hex> <json>` in `<dir>/.work/<name>.log`, fsynced every
few rows. A line that was torn by a crash fails its checksum: torn tails are cut off, damaged lines elsewhere are
skipped, and the rows they held are simply made again. Sealing writes the rows in input order to temporary files, then
fsync, rename, fsync of the folder; only then is the log removed.
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from nemo_desta.errors import SelfGenError
from nemo_desta.files import json_bytes, json_value, sync_folder, whole_files

__all__ = ["STATUSES", "WorkLog", "encode_line", "parse_log", "seal"]

STATUSES = ("ok", "filtered", "failed")


def encode_line(row: Mapping[str, Any]) -> bytes:
    """One log line: checksum, space, JSON, newline."""
    payload = json_bytes(row)
    return b"%08x " % zlib.crc32(payload) + payload + b"\n"


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
    with whole_files(targets) as files:
        for row in log.rows(_known(order(), log)):
            content = row["record"] if row["status"] == "ok" else {**row["record"], "reason": row["reason"]}
            files[row["status"]].write(json_bytes(content) + b"\n")
            counts[row["status"]] += 1
            if row["status"] != "ok":
                reasons[f"filtered: {row['reason']}" if row["status"] == "filtered" else row["status"]] += 1
    return counts, dict(reasons)


def _known(order: Iterable[str], log: WorkLog) -> Iterator[str]:
    for row_id in order:
        if row_id not in log.done:
            raise SelfGenError(f"{log.path}: no finished row for {row_id!r}; the input changed while it was worked on.")
        yield row_id
