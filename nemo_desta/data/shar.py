"""Records and their clips in Lhotse Shar: a cut for each clip, its records in the cut's custom field.

A shard is two files: `cuts.000000.jsonl.gz` and `recording.000000.tar`, which holds for each cut `<cut id>.<ending>`, the
clip's own bytes, and `<cut id>.json`, Lhotse's manifest of it. `CutSet.from_shar` reads the folder. For training the clips
are addressed in the tar, as those of tar shards are, and read only when their batch is built.
"""

import gzip
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nemo_desta.data.clip import Clip
from nemo_desta.data.shards import add_member, tar_members
from nemo_desta.errors import RecordError
from nemo_desta.record import Record

__all__ = ["RECORDS_FIELD", "SharShard", "read_shar", "shar_shards"]

RECORDS_FIELD = "desta_records"
"""Name of the custom field that holds the records about a cut."""

_CUTS = re.compile(r"cuts\.(\d+)\.jsonl\.gz")


def shar_shards(folders: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The cut files of Shar folders, in order; each stands for its shard.

    Raises:
        RecordError: a folder is missing, holds no cuts, or lacks the recordings of some.
    """
    found = []
    for folder in map(Path, folders):
        cuts = sorted(p for p in folder.glob("cuts.*") if _CUTS.fullmatch(p.name)) if folder.is_dir() else []
        if not cuts:
            raise RecordError(
                f"{folder}: no Lhotse Shar folder (it holds no cuts.000000.jsonl.gz); give one that "
                "nemo-desta pack format=shar wrote."
            )
        missing = [p.name for p in map(_recordings, cuts) if not p.is_file()]
        if missing:
            raise RecordError(f"{folder}: {', '.join(missing[:5])} missing beside the cuts; copy the folder again.")
        found += map(str, cuts)
    return found


def read_shar(path: str | os.PathLike[str]) -> Iterator[tuple[Record, tuple[Clip, ...]]]:
    """Stream the records of one shard with the addresses of their clips.

    Args:
        path: the shard's `cuts.<number>.jsonl.gz`; its recordings lie beside it.

    Raises:
        RecordError: an unreadable or truncated file, an unsafe or repeated member, a malformed cut or record, a cut
            without its clip, or a clip without its cut.
    """
    path = Path(path)
    tar = _recordings(path)
    try:
        with tarfile.open(tar, "r:") as shard:
            clips = _clips(tar_members(shard, tar), tar)
    except (OSError, tarfile.TarError) as err:
        raise RecordError(
            f"{tar}: not a readable uncompressed tar file ({err}); copy or pack the shard again."
        ) from err
    try:
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                yield from _cut(line, f"{path}:{number}", clips, tar)
    except (OSError, EOFError) as err:
        raise RecordError(f"{path}: not readable as gzip ({err}); copy or pack the shard again.") from err
    if clips:
        raise RecordError(
            f"{tar}: {len(clips)} clips without a cut, such as {next(iter(clips))!r}; {path} was changed."
        )


def _recordings(cuts: Path) -> Path:
    number = _CUTS.fullmatch(cuts.name)
    if number is None:
        raise RecordError(f"{cuts}: the cuts of a Shar shard are named cuts.000000.jsonl.gz.")
    return cuts.with_name(f"recording.{number[1]}.tar")


def _clips(members: Mapping[str, tarfile.TarInfo], tar: Path) -> dict[str, Clip]:
    """Cut id -> clip; Lhotse names a member after its cut and adds an ending."""
    clips: dict[str, Clip] = {}
    for name, member in members.items():
        cut_id, ending = str(PurePosixPath(name).with_suffix("")), PurePosixPath(name).suffix
        if ending == ".json":
            continue
        if ending == ".nodata":
            raise RecordError(f"{tar}: the cut {cut_id!r} has no audio; records in Shar speak of one clip each.")
        if cut_id in clips:
            raise RecordError(f"{tar}: the cut {cut_id!r} has two clips; one of them would be lost.")
        clips[cut_id] = Clip(str(tar), name, member.offset_data, member.size)
    return clips


def _cut(line: bytes, where: str, clips: dict[str, Clip], tar: Path) -> Iterator[tuple[Record, tuple[Clip, ...]]]:
    try:
        cut = json.loads(line)
        cut_id, rows = cut["id"], cut["custom"][RECORDS_FIELD]
    except (ValueError, RecursionError, KeyError, TypeError) as err:
        raise RecordError(
            f"{where}: no cut with records in custom.{RECORDS_FIELD} ({type(err).__name__}: {err}); this folder was not "
            "written by nemo-desta pack."
        ) from err
    clip = clips.pop(cut_id, None) if isinstance(cut_id, str) else None
    if clip is None:
        raise RecordError(f"{where}: the clip of the cut {cut_id!r} is not in {tar}, or was named by a cut before.")
    if not isinstance(rows, list) or not rows:
        raise RecordError(f"{where}: custom.{RECORDS_FIELD} must be a list of records, it is {rows!r}.")
    for row in rows:
        record = Record.from_dict(row, where)
        if len(record.audios) != 1:
            raise RecordError(f"{where}: record {record.id} has {len(record.audios)} clips; in Shar each has one.")
        yield record, (clip,)


class SharShard:
    """One Shar shard that is being written; a context manager that closes it.

    Neighbouring records about the same clip become one cut, so the order of the records is kept.

    Args:
        folder: gets the two files.
        number: of the shard.
    """

    def __init__(self, folder: str | os.PathLike[str], number: int) -> None:
        self.cuts, self.recordings = (Path(folder) / name for name in _names(number))
        self._tar = tarfile.open(self.recordings, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._cuts = gzip.GzipFile(self.cuts, "wb", compresslevel=6, mtime=0)
        self._number, self._count = number, 0
        self._clip: tuple[str, bytes] | None = None
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> "SharShard":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._cuts.close()
            self._tar.close()

    def add(self, record: Record, read: Callable[[str], bytes]) -> None:
        """Append a record.

        Args:
            record: about exactly one clip.
            read: the bytes of a clip by its path, in any format that Lhotse decodes.

        Raises:
            RecordError: it has no clip, or several.
        """
        if len(record.audios) != 1:
            raise RecordError(
                f"record {record.id} has {len(record.audios)} clips; Lhotse Shar holds one for each cut. Use tar shards."
            )
        name = record.audios[0].audio
        if self._clip is None or self._clip[0] != name:
            self._flush()
            self._clip = (name, read(name))
        self._rows.append(record.to_dict())

    def _flush(self) -> None:
        """Write the cut of the clip at hand: in the tar its bytes and manifest, in the other file the cut."""
        if self._clip is None:
            return
        cut_id = f"{self._number:06d}-{self._count:06d}"
        recording = _placeholder(cut_id, self._clip[1])
        ending = re.sub(r"[^A-Za-z0-9]", "", PurePosixPath(self._clip[0]).suffix) or "audio"
        ending = "audio" if ending in {"json", "nodata", "nometa"} else ending
        add_member(self._tar, f"{cut_id}.{ending}", self._clip[1])
        add_member(self._tar, f"{cut_id}.json", _line(recording.to_dict()))
        cut = recording.to_cut()
        cut.id, cut.custom = cut_id, {RECORDS_FIELD: self._rows}
        self._cuts.write(_line(cut.to_dict()))
        self._clip, self._rows, self._count = None, [], self._count + 1


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _names(number: int) -> tuple[str, str]:
    return f"cuts.{number:06d}.jsonl.gz", f"recording.{number:06d}.tar"


def _placeholder(cut_id: str, data: bytes) -> Any:
    """Lhotse's manifest of a clip whose bytes lie beside it."""
    import soundfile
    from lhotse import AudioSource, Recording

    info = soundfile.info(io.BytesIO(data))
    channels = list(range(info.channels))
    return Recording(
        id=cut_id,
        sources=[AudioSource(type="shar", channels=channels, source="")],
        sampling_rate=info.samplerate,
        num_samples=info.frames,
        duration=info.frames / info.samplerate,
        channel_ids=channels,
    )
