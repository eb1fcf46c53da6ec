"""The three forms of a package, one class each with the same methods, all working shard by shard.

    begin(n) -> add(record, read) ... -> end() -> read_back() -> publish()

Until `publish`, a shard lies in the work folder; afterwards it is complete in its place. `add` returns the record as the
package holds it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from nemo_desta.data.clip import Clip
from nemo_desta.data.shar import SharShard, read_shar, shar_shards
from nemo_desta.data.shards import TarShard, read_shard, unstorable
from nemo_desta.errors import RecordError
from nemo_desta.files import sync_folder
from nemo_desta.record import Record, read_records, resolve_audio
from nemo_desta.records.journal import Journal

__all__ = ["JsonlPacker", "Packer", "SharPacker", "TarPacker", "located", "renamed"]

Read = Callable[[str], bytes]
Found = Iterator[tuple[Record, tuple[Clip, ...]]]
RESERVED = {"records.jsonl", "failed.jsonl", "pack.json", "manifest.json", ".work", ".lock"}
"""Names at the top of a package that no clip may have."""


class Packer(Protocol):
    """What the three classes have in common."""

    def refusal(self, record: Record) -> str | None:
        """Why the form cannot hold this record."""

    def begin(self, number: int) -> None:
        """Start the shard of this number, from 0; what an earlier run left of it is replaced."""

    def has(self, name: str) -> bool:
        """Whether the shard stores this clip, so that `add` will not read it."""

    def add(self, record: Record, read: Read) -> None:
        """Append a record; `read` gives a clip's bytes by its path in the record."""

    def end(self) -> None:
        """Close the shard."""

    def read_back(self) -> Found:
        """Its records and clips, by the code that training reads them with."""

    def publish(self) -> None:
        """Put the shard where it belongs."""

    def records(self, shards: int) -> Iterator[Record]:
        """All records of the finished package, in order, without touching audio."""

    def entry(self, shards: int) -> dict[str, Any]:
        """What an `input_cfg` of training says, paths relative to the package."""


def located(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """An entry of `input_cfg` with paths that hold wherever training is started."""
    return {k: v if k == "type" else str(folder.absolute() / v) for k, v in entry.items()}


def renamed(record: Record, encode: bool) -> Record:
    """The record as it stands in the package: re-encoded clips carry `.flac` behind their old name."""
    if not encode:
        return record
    messages = tuple(
        replace(m, audios=tuple(replace(a, audio=f"{a.audio}.flac") for a in m.audios)) for m in record.messages
    )
    return replace(record, messages=messages)


@dataclass
class JsonlPacker:
    """`records.jsonl` with the clips beside it, under the paths that the records name."""

    folder: Path
    journal: Journal
    link_root: Path | None = None
    """Make hard links to the clips of this root; None: write the bytes."""
    _shard: list[Record] = field(default_factory=list)
    _placed: set[str] = field(default_factory=set)

    def refusal(self, record: Record) -> str | None:
        taken = [a.audio for a in record.audios if Path(a.audio).parts[:1] and Path(a.audio).parts[0] in RESERVED]
        return f"clip path {taken[0]!r}: files of the package have this name" if taken else None

    def begin(self, number: int) -> None:
        self._shard, self._placed = [], set()

    def has(self, name: str) -> bool:
        return name in self._placed

    def add(self, record: Record, read: Read) -> None:
        for clip in record.audios:
            if clip.audio not in self._placed:
                self._place(clip.audio, resolve_audio(self.folder, clip.audio), read)
                self._placed.add(clip.audio)
        self._shard.append(record)

    def _place(self, name: str, target: Path, read: Read) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.journal.folder / "clip.tmp"
        temporary.unlink(missing_ok=True)
        if self.link_root is None:
            with temporary.open("wb") as out:
                out.write(read(name))
                out.flush()
                os.fsync(out.fileno())
        else:
            try:
                os.link(os.path.realpath(resolve_audio(self.link_root, name)), temporary)
            except OSError as err:
                raise RecordError(f"{name}: no hard link can be made ({err.strerror}); use audio=copy.") from err
            if target.exists() and target.samefile(temporary):
                temporary.unlink()  # renaming one link onto another of the same file does nothing
                return
        os.replace(temporary, target)

    def end(self) -> None:
        for folder in {resolve_audio(self.folder, name).parent for name in self._placed}:
            sync_folder(folder)

    def read_back(self) -> Found:
        for record in self._shard:
            yield record, tuple(Clip(str(resolve_audio(self.folder, a.audio))) for a in record.audios)

    def publish(self) -> None:
        for record in self._shard:
            self.journal.write("records", record.to_dict())

    def records(self, shards: int) -> Iterator[Record]:
        return read_records(self.folder / "records.jsonl")

    def entry(self, shards: int) -> dict[str, Any]:
        return {"type": "desta", "manifest_filepath": "records.jsonl"}


@dataclass
class TarPacker:
    """Uncompressed tar shards `tar/shard_000000.tar`, each with its records and their clips."""

    folder: Path
    work: Path
    _number: int = 0
    _shard: TarShard | None = None

    def refusal(self, record: Record) -> str | None:
        names = unstorable(record)
        return f"clip path {names[0]!r} cannot be the name of a clip in a tar shard" if names else None

    def begin(self, number: int) -> None:
        self._number, self._shard = number, TarShard(self._temporary)

    @property
    def _temporary(self) -> Path:
        return self.work / "shard.tar"

    def has(self, name: str) -> bool:
        return name in self._shard.stored

    def add(self, record: Record, read: Read) -> None:
        self._shard.add(record, read)

    def end(self) -> None:
        self._shard.__exit__()

    def read_back(self) -> Found:
        return read_shard(self._temporary)

    def publish(self) -> None:
        _move({self._temporary: self.folder / "tar" / _tar_name(self._number)})

    def records(self, shards: int) -> Iterator[Record]:
        for number in range(shards):
            for record, _ in read_shard(self.folder / "tar" / _tar_name(number)):
                yield record

    def entry(self, shards: int) -> dict[str, Any]:
        name = f"shard_{{000000..{shards - 1:06d}}}.tar" if shards > 1 else _tar_name(0)
        return {"type": "desta", "tarred_filepaths": f"tar/{name}"}


@dataclass
class SharPacker:
    """Lhotse Shar in the folder `shar`: `cuts.000000.jsonl.gz`, `recording.000000.tar`, ..."""

    folder: Path
    work: Path
    _shard: SharShard | None = None

    def refusal(self, record: Record) -> str | None:
        return None  # records without one clip each are refused before the work begins

    def begin(self, number: int) -> None:
        self._shard = SharShard(self.work, number)

    def has(self, name: str) -> bool:
        return False  # a clip that comes again later becomes another cut

    def add(self, record: Record, read: Read) -> None:
        self._shard.add(record, read)

    def end(self) -> None:
        self._shard.__exit__(None)

    def read_back(self) -> Found:
        return read_shar(self._shard.cuts)

    def publish(self) -> None:
        shard = self._shard
        _move({p: self.folder / "shar" / p.name for p in (shard.recordings, shard.cuts)})

    def records(self, shards: int) -> Iterator[Record]:
        for path in shar_shards([self.folder / "shar"]):
            for record, _ in read_shar(path):
                yield record

    def entry(self, shards: int) -> dict[str, Any]:
        return {"type": "desta", "shar_path": "shar"}


def _tar_name(number: int) -> str:
    return f"shard_{number:06d}.tar"


def _move(files: dict[Path, Path]) -> None:
    """Make files durable and move them, in order."""
    for source, target in files.items():
        with source.open("rb") as file:
            os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        sync_folder(target.parent)
