"""Packing: records and their audio in one folder, in the form that training reads, read back before it counts.

    JSONL lines -> records -> their clips checked (in threads) -> shard in the work folder -> read back -> in its place

Progress is committed after every shard; a run that was stopped goes on behind the last one and gives the same package.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nemo_desta.data.clip import Clip
from nemo_desta.errors import AudioError, ConfigError, RecordError
from nemo_desta.files import lock_directory, write_json
from nemo_desta.record import Record, resolve_audio
from nemo_desta.records.clips import Packed, check_packed, prepare
from nemo_desta.records.ids import IdHashes
from nemo_desta.records.journal import Journal, begin, sweep
from nemo_desta.records.lines import START, Line, fingerprint, input_files, parse, read_lines
from nemo_desta.records.pack_config import PackConfig, PackSummary
from nemo_desta.records.packers import JsonlPacker, Packer, SharPacker, TarPacker, located, renamed

__all__ = ["SCHEMA", "PackConfig", "PackSummary", "pack_records", "run"]

_log = logging.getLogger(__name__)
_WINDOW = 64  # records whose clips are read at once


SCHEMA = PackConfig


def run(cfg: Any) -> PackSummary:
    """Pack records with their audio (conf/pack.yaml); prints the lines that training needs."""
    from omegaconf import OmegaConf

    from nemo_desta.schema import from_dict

    plain = OmegaConf.to_container(cfg, resolve=True) if not isinstance(cfg, dict) else cfg
    summary = pack_records(from_dict(PackConfig, plain))
    tqdm.write(str(summary))
    return summary


def pack_records(config: PackConfig) -> PackSummary:
    """Pack records with their audio.

    Args:
        config: the settings. `output_dir` gets the package, `pack.json`, `manifest.json` and, if need be, `failed.jsonl`.

    Returns:
        The summary; a finished package is left as it is.

    Raises:
        ConfigError: a setting is wrong, the folder holds other files, or Shar is asked to hold records that have not exactly one clip.
        RecordError: the input is unusable, more than `max_failed` of the records cannot be packed, or the package does
            not read back as it was written. Finished shards stay.
        SelfGenError: the folder is in use, or was begun with other settings.
    """
    config.checked()
    paths, output = input_files(config.records), Path(config.output_dir)
    root = _audio_root(config, paths)
    with lock_directory(output):
        source = fingerprint(paths)
        fixed = {k: getattr(config, k) for k in ("format", "audio", "shard_size")}
        settings = {"made_by": "pack", **fixed, "source": source, "audio_root": str(root)}
        if begin(output, "pack.json", settings):
            summary = PackSummary(**json.loads((output / "pack.json").read_text(encoding="utf-8")))
        else:
            summary = _Packing(config, paths, root, output, source).execute()
    return dataclasses.replace(summary, input_cfg=located(summary.input_cfg, output))


def _audio_root(config: PackConfig, paths: list[Path]) -> Path:
    folders = {p.absolute().parent for p in paths}
    if config.audio_root is None and len(folders) > 1:
        raise ConfigError("the files lie in several folders; give audio_root=<the folder of the clips>.")
    root = Path(config.audio_root).absolute() if config.audio_root is not None else folders.pop()
    if not root.is_dir():
        raise ConfigError(f"audio_root={config.audio_root}: no such folder.")
    return root


class _Packing:
    """One packing into a locked folder."""

    def __init__(self, config: PackConfig, paths: list[Path], root: Path, output: Path, source: str) -> None:
        self.config, self.paths, self.root, self.output, self.source = config, paths, root, output, source
        targets = {"failed": output / "failed.jsonl"}
        if config.format == "jsonl":
            targets["records"] = output / "records.jsonl"
        self.journal = Journal(output, targets)
        self.encode = config.audio == "flac"
        self.packer = self._packer()
        self.ids = IdHashes()
        self.total = 0

    def _packer(self) -> Packer:
        if self.config.format == "jsonl":
            return JsonlPacker(self.output, self.journal, self.root if self.config.audio == "link" else None)
        return (TarPacker if self.config.format == "tar" else SharPacker)(self.output, self.journal.folder)

    def execute(self) -> PackSummary:
        started = time.monotonic()
        try:
            self._scan()
            self._work()
            self.journal.publish()
        except OSError as err:
            raise RecordError(
                f"{self.output}: cannot write ({err}); finished shards are safe: make room and start again."
            ) from err
        finally:
            self.journal.close()
        state = self._state()
        self._check_whole(state)
        if not state["failed"]:
            (self.output / "failed.jsonl").unlink()
        summary = PackSummary(
            self.config.format, self.config.audio, self.total, state["packed"], state["failed"], state["clips"],
            round(state["samples"] / 16_000 / 3600, 4), state["shards"], self.ids.repeated(), self.source,
            self.packer.entry(state["shards"]), round(time.monotonic() - started, 1),
        )  # fmt: skip
        write_json(self.output / "pack.json", dataclasses.asdict(summary))
        sweep(self.output)
        return summary

    def _scan(self) -> None:
        """Count the lines and their ids; for Shar, refuse records that it cannot hold."""
        unfit: list[str] = []
        count = 0
        for line in tqdm(read_lines(self.paths), unit="record", desc="reading", disable=not self.config.progress):
            self.total += 1
            record = parse(line)
            if isinstance(record, str):
                continue
            self.ids.add(record.id)
            if self.config.format == "shar" and len(record.audios) != 1:
                count += 1
                unfit += [f"{record.id} ({len(record.audios)} clips)"] * (len(unfit) < 5)
        if count:
            raise ConfigError(
                f"Lhotse Shar holds one clip with its records; {count} records have none or several: {', '.join(unfit)}"
                f"{', ...' if count > 5 else ''}. Use format=tar, which holds any number."
            )
        if not self.total:
            raise RecordError(f"{', '.join(map(str, self.paths[:5]))}: no record in it; there is nothing to pack.")

    def _state(self) -> dict[str, Any]:
        keys = ("packed", "failed", "clips", "samples", "shards")
        return dict(self.journal.state or {"position": list(START), **dict.fromkeys(keys, 0)})

    def _work(self) -> None:
        state = self._state()
        lines = read_lines(self.paths, tuple(state["position"]))
        bar = tqdm(total=self.total, initial=state["packed"] + state["failed"], unit="record", desc="packing",
                   disable=not self.config.progress, mininterval=1.0)  # fmt: skip
        with bar, ThreadPoolExecutor(self.config.workers) as pool:
            while self._shard(lines, state, pool, bar):
                self.journal.commit(state)
        self.journal.commit(state)

    def _shard(self, lines: Iterator[Line], state: dict[str, Any], pool: ThreadPoolExecutor, bar: tqdm) -> bool:
        """Pack one shard, read it back and publish it; False when there is nothing left to pack."""
        packed: list[Record] = []
        clips: dict[str, Packed] = {}
        self.packer.begin(state["shards"])
        try:
            while len(packed) < self.config.shard_size:
                window = list(islice(lines, min(_WINDOW, self.config.shard_size - len(packed))))
                if not window:
                    break
                self._window(window, packed, clips, state, pool)
                bar.update(len(window))
        finally:
            self.packer.end()
        if not packed:
            return False
        stored = self._read_back(packed, clips, pool)
        state["clips"] += len(stored)
        state["samples"] += sum(clips[name].num_samples for name in stored)
        self.packer.publish()
        state["packed"], state["shards"] = state["packed"] + len(packed), state["shards"] + 1
        return True

    def _window(self, window: list[Line], packed: list, clips: dict, state: dict, pool: ThreadPoolExecutor) -> None:
        records = [parse(line) for line in window]
        names = dict.fromkeys(a.audio for r in records if not isinstance(r, str) for a in r.audios)
        read = {name: clips[self._stored(name)] for name in names if self.packer.has(self._stored(name))}
        new = [name for name in names if name not in read]
        read.update(zip(new, pool.map(self._prepare, new), strict=True))
        for line, record in zip(window, records, strict=True):
            state["position"] = list(line.after)
            reason = record if isinstance(record, str) else self._refusal(record, read)
            if reason is not None:
                self._fail(line, record, reason, state)
                continue
            kept = renamed(record, self.encode)
            stored = {new.audio: read[old.audio] for new, old in zip(kept.audios, record.audios, strict=True)}
            self.packer.add(kept, lambda name, of=stored: of[name].data)
            clips.update({name: dataclasses.replace(clip, data=None) for name, clip in stored.items()})
            packed.append(kept)

    def _stored(self, name: str) -> str:
        """Name of a clip in the package."""
        return f"{name}.flac" if self.encode else name

    def _prepare(self, name: str) -> Packed | str:
        try:
            return prepare(resolve_audio(self.root, name), self.encode)
        except (AudioError, RecordError, OSError, ValueError) as err:
            return str(err)

    def _refusal(self, record: Record, read: dict[str, Packed | str]) -> str | None:
        wrong = [read[a.audio] for a in record.audios if isinstance(read[a.audio], str)]
        return wrong[0] if wrong else self.packer.refusal(renamed(record, self.encode))

    def _fail(self, line: Line, record: Record | str, reason: str, state: dict[str, Any]) -> None:
        state["failed"] += 1
        shown = {"record": record.to_dict()} if isinstance(record, Record) else {"text": line.text}
        self.journal.write("failed", {"file": line.after[0], "line": line.after[2], "reason": reason, **shown})
        if state["failed"] > self.config.max_failed * self.total:
            raise RecordError(
                f"{state['failed']} of {self.total} records cannot be packed, more than max_failed={self.config.max_failed:g} "
                f"allows; the last, {line.where}: {reason} Mend them and start again, or raise max_failed."
            )

    def _read_back(self, packed: list[Record], clips: dict[str, Packed], pool: ThreadPoolExecutor) -> list[str]:
        """Compare the shard with what was put into it; the names of the clips it stores."""
        places: dict[Clip, str] = {}
        for number, pair in enumerate(zip_longest(packed, self.packer.read_back())):
            wanted, (found, at) = pair[0], pair[1] or (None, ())
            if wanted != found:
                raise RecordError(
                    f"record {number} of the shard reads back as {found and found.id!r} in place of {wanted and wanted.id!r}; "
                    "the disk or its file system is not to be trusted."
                )
            places.update(zip(at, (a.audio for a in wanted.audios), strict=True))
        try:
            list(pool.map(lambda item: check_packed(item[0], clips[item[1]]), places.items()))
        except AudioError as err:
            raise RecordError(f"the shard does not read back: {err}") from err
        return list(places.values())

    def _check_whole(self, state: dict[str, Any]) -> None:
        """Every record of the input once and in order: in the package, or among the failed ones."""
        if not state["packed"]:
            raise RecordError(f"{self.output}: no record could be packed; see failed.jsonl.")
        failed = ((row["file"], row["line"]) for row in _rows(self.output / "failed.jsonl"))
        next_failed, found, count = next(failed, None), self.packer.records(state["shards"]), 0
        for line in tqdm(read_lines(self.paths), total=self.total, unit="record", desc="checking",
                         disable=not self.config.progress, mininterval=1.0):  # fmt: skip
            if (line.after[0], line.after[2]) == next_failed:
                next_failed = next(failed, None)
                continue
            record, count = parse(line), count + 1
            if not isinstance(record, Record) or renamed(record, self.encode) != next(found, None):
                raise RecordError(
                    f"{self.output}: the package lacks {line.where}, or holds something else in its place."
                )
        if next_failed is not None or next(found, None) is not None or count != state["packed"]:
            raise RecordError(f"{self.output}: the package holds more than the input; the input changed meanwhile.")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        yield from map(json.loads, lines)
