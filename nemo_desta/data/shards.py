"""Records and their clips in tar shards: writing them, and finding members again.

A shard holds for each record one `<name>.json` (the record, its clips named by member) and, before the first record
that speaks of it, each clip once. Shards are plain (uncompressed) tar files, so a clip is read by offset, only when
its batch is built.
"""

import io
import itertools
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from braceexpand import braceexpand

from nemo_desta.data.clip import Clip
from nemo_desta.errors import RecordError
from nemo_desta.record import Record, parse_line, resolve_audio

__all__ = ["TarShard", "add_member", "expand_paths", "read_shard", "tar_members", "unstorable", "write_tar_shards"]


def expand_paths(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """File names of a path, a list of paths, or patterns: `{000..127}` and NeMo's `_OP_000..127_CL_`.

    Raises:
        RecordError: nothing is named.
    """
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    patterns = [os.fspath(p).replace("_OP_", "{").replace("_CL_", "}") for p in listed]
    found = [name for pattern in patterns for name in braceexpand(pattern)]
    if not found:
        raise RecordError("no file is named; give a path, a list, or a pattern such as shard_{000..127}.tar.")
    return found


def read_shard(path: str | os.PathLike[str]) -> Iterator[tuple[Record, tuple[Clip, ...]]]:
    """Stream the records of a shard with the addresses of their clips.

    Raises:
        RecordError: no such file, not an uncompressed tar, a member with an unsafe or repeated name or of a kind
            other than a plain file, a malformed record, or a clip that is not in the shard.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"{path}: no such tar shard; check the path or pattern.")
    try:
        with tarfile.open(path, "r:") as shard:
            members = tar_members(shard, path)
            for name, member in members.items():
                if name.endswith(".json"):
                    record = parse_line(shard.extractfile(member).read(), f"{path}:{name}")
                    yield record, tuple(_clip(path, members, a.audio, record) for a in record.audios)
    except tarfile.TarError as err:
        raise RecordError(
            f"{path}: not a readable uncompressed tar file ({err}); write shards with write_tar_shards."
        ) from err


def tar_members(shard: tarfile.TarFile, path: Path) -> dict[str, tarfile.TarInfo]:
    """The files of an open tar by name.

    Raises:
        RecordError: a member with an unsafe or repeated name, or of a kind other than a plain file.
    """
    members: dict[str, tarfile.TarInfo] = {}
    for member in shard:
        name = member.name
        if member.isdir():
            continue
        if not member.isreg():
            raise RecordError(f"{path}: member {name!r} is no plain file; shards hold files only, no links or devices.")
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise RecordError(f"{path}: member name {name!r} leaves the shard; use relative names without '..'.")
        if name in members:
            raise RecordError(f"{path}: member {name!r} stands twice in the shard; one of them would be lost.")
        members[name] = member
    return members


def _clip(path: Path, members: dict[str, tarfile.TarInfo], name: str, record: Record) -> Clip:
    member = members.get(name)
    if member is None:
        raise RecordError(f"{path}: record {record.id} names the clip {name!r}, which is not in the shard.")
    return Clip(str(path), name, member.offset_data, member.size)


def write_tar_shards(
    records: Iterable[Record], audio_root: str | os.PathLike[str], out_pattern: str, shard_size: int = 1000
) -> list[Path]:
    """Write records and their clips into tar shards; each shard appears whole or not at all.

    Args:
        records: in the order of the shards. A clip used by several records is stored once a shard.
        audio_root: folder to which the records' clip paths are relative; the relative path becomes the member name.
        out_pattern: with one `%d` field for the shard number, such as `train_%06d.tar`.
        shard_size: records a shard.

    Returns:
        The shards written.

    Raises:
        RecordError: the pattern has no number field, a clip is missing, or a path leaves the root.
    """
    if out_pattern % 0 == out_pattern % 1 if "%" in out_pattern else True:
        raise RecordError(f"shard pattern {out_pattern!r} has no number field; use one such as 'train_%06d.tar'.")
    stream, written = iter(records), []
    while chunk := list(itertools.islice(stream, shard_size)):
        path = Path(out_pattern % len(written))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with TarShard(temporary) as shard:
                for record in chunk:
                    shard.add(record, lambda name, of=record: _read(resolve_audio(audio_root, name), of))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        written.append(path)
    return written


class TarShard:
    """One tar shard that is being written; a context manager that closes it.

    Args:
        path: the file, replaced if it exists.

    Attributes:
        stored: clips that are in the shard.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.stored: set[str] = set()
        self._records = 0
        self._file = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def __enter__(self) -> "TarShard":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, record: Record, read: Callable[[str], bytes]) -> None:
        """Append a record, and before it those of its clips that the shard lacks.

        Args:
            record: its clip paths become member names.
            read: the bytes of a clip by its path.

        Raises:
            RecordError: a clip path cannot be a member name.
        """
        for name in unstorable(record):
            raise RecordError(f"record {record.id}: clip path {name!r} cannot be the name of a clip in a tar shard.")
        for clip in record.audios:
            if clip.audio not in self.stored:
                add_member(self._file, clip.audio, read(clip.audio))
                self.stored.add(clip.audio)
        line = json.dumps(record.to_dict(), ensure_ascii=False).encode()
        add_member(self._file, f"{self._records:06d}.json", line)
        self._records += 1


def unstorable(record: Record) -> list[str]:
    """Clip paths that would be taken for something else in a shard: records end in `.json`, folders in a slash."""
    return [a.audio for a in record.audios if a.audio.endswith((".json", "/"))]


def _read(path: Path, record: Record) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise RecordError(f"record {record.id}: clip {path} cannot be read ({err.strerror}).") from err


def add_member(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a plain file to an open tar."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    shard.addfile(member, io.BytesIO(data))
