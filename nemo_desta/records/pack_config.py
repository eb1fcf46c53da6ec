"""The settings of packing, and what it reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nemo_desta.errors import ConfigError

__all__ = ["FORMATS", "PackConfig", "PackSummary"]

FORMATS = {"jsonl": ("copy", "link", "flac"), "tar": ("copy", "flac"), "shar": ("copy", "flac")}
"""What `audio` can be for each format."""


@dataclass(frozen=True)
class PackConfig:
    """Settings of packing; conf/pack.yaml holds them with comments."""

    records: str | list[str]
    """JSONL file(s) of records: a path, a list, or patterns."""
    output_dir: str
    """The package; a folder that was begun is continued."""
    format: str = "tar"
    """jsonl, tar or shar."""
    audio_root: str | None = None
    """Folder to which the clip paths are relative; None: the folder of the files, if they share one."""
    audio: str = "copy"
    """copy: the bytes as they are. flac: 16 kHz mono FLAC. link (jsonl only): hard links, no space taken."""
    shard_size: int = 1000
    """Records in a shard; also how many are made again after an interruption."""
    max_failed: float = 0.01
    """Share of records that cannot be packed above which packing stops."""
    workers: int = 4
    """Threads that read and check audio."""
    progress: bool = True
    """Show a bar with the time left."""

    def checked(self) -> "PackConfig":
        """Itself.

        Raises:
            ConfigError: naming every value that is out of range.
        """
        wrong = [
            f"{k}={getattr(self, k)!r} must be at least 1" for k in ("shard_size", "workers") if getattr(self, k) < 1
        ]
        if self.format not in FORMATS:
            wrong.append(f"format={self.format!r}: there are {', '.join(FORMATS)}")
        elif self.audio not in FORMATS[self.format]:
            wrong.append(f"audio={self.audio!r}: with format={self.format} there are {', '.join(FORMATS[self.format])}")
        if not 0 <= self.max_failed <= 1:
            wrong.append(f"max_failed={self.max_failed} is a share, from 0 to 1")
        if Path(self.output_dir).is_file():
            wrong.append(f"output_dir={self.output_dir}: is a file")
        if wrong:
            raise ConfigError("packing: " + "; ".join(wrong) + ".")
        return self


@dataclass(frozen=True)
class PackSummary:
    """What `pack.json` says.

    Attributes:
        format, audio: as asked for.
        total: lines of the input; packed + failed equals it.
        clips: of all shards; one that several shards (in Shar: several cuts) hold counts each time.
        hours: of these clips.
        shards: files, or pairs of files for Shar.
        repeated_ids: records whose id an earlier one has.
        source: hash of the input files.
        input_cfg: entry for training; in pack.json its path is relative to the package.
        seconds: of this run.
    """

    format: str
    audio: str
    total: int
    packed: int
    failed: int
    clips: int
    hours: float
    shards: int
    repeated_ids: int
    source: str
    input_cfg: dict[str, Any]
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{self.packed} packed + {self.failed} failed = {self.total} records; {self.clips} clips, {self.hours:.2f} h, "
            f"read back and found complete ({self.seconds:.0f} s)"
        ]
        if self.failed:
            lines.append("failed records stand in failed.jsonl with their reasons")
        if self.repeated_ids:
            lines.append(f"{self.repeated_ids} records have an id that stands before; training does not mind")
        entry = {"input_cfg": [self.input_cfg]}
        lines += ["for training, under data.train_ds:", yaml.safe_dump(entry, sort_keys=False, width=1000).rstrip()]
        if self.format != "jsonl":
            lines.append(f"num_workers: 1   # at least 1; ranks x workers at most {self.shards}, the number of shards")
        return "\n".join(lines)
