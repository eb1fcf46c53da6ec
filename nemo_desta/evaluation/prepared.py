"""The questions of a benchmark from a download, or from the folder that `eval prepare` made of it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import Benchmark
from nemo_desta.evaluation.items import Data, Item, content_hash, unique
from nemo_desta.evaluation.reading import read_json, read_jsonl
from nemo_desta.files import json_bytes, whole_file, write_json

__all__ = ["check_version", "load_data", "prepare", "summary"]

_ITEMS, _ABOUT = "items.jsonl", "data.json"


def load_data(benchmark: Benchmark, source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
    """The questions of a benchmark.

    Args:
        source: the download, or a prepared folder.
        work: folder for audio that is packed in parquet.
        subsets: only these; empty: all.

    Raises:
        EvaluationError: see `Benchmark.load`; or a prepared folder is of another benchmark, or was changed by hand.
    """
    if (source / _ABOUT).is_file() and (source / _ITEMS).is_file():
        return _read(benchmark, source, subsets)
    if not source.exists():
        raise EvaluationError(f"{source}: does not exist. {benchmark.download}")
    return benchmark.load(source, work, subsets)


def prepare(benchmark: Benchmark, source: Path, out: Path, subsets: Sequence[str] = ()) -> Data:
    """Check a download and write its questions (and audio that is packed) to `out`.

    Raises:
        EvaluationError: see `Benchmark.load`.
        SelfGenError: the disk refuses.
    """
    data = load_data(benchmark, source, out, subsets)
    with whole_file(out / _ITEMS) as file:
        for item in data.items:
            file.write(json_bytes(asdict(item)) + b"\n")
    root = "." if data.root.resolve() == out.resolve() else str(data.root.resolve())
    about = {
        "benchmark": benchmark.name, "root": root, "version": data.version, "known_as": data.known_as,
        "notes": list(data.notes), "protocol": dict(data.protocol),
    }  # fmt: skip
    write_json(out / _ABOUT, about)
    return data


def _read(benchmark: Benchmark, folder: Path, subsets: Sequence[str]) -> Data:
    about = read_json(folder / _ABOUT)
    if not isinstance(about, dict) or about.get("benchmark") != benchmark.name:
        stated = about.get("benchmark") if isinstance(about, dict) else None
        raise EvaluationError(f"{folder}: was prepared for {stated!r}, not for {benchmark.name}.")
    items = tuple(_item(row, where) for where, row in read_jsonl(folder / _ITEMS))
    unique(items, str(folder / _ITEMS))
    version = content_hash(i.fields for i in items)
    if version != about["version"]:
        raise EvaluationError(
            f"{folder / _ITEMS}: is not what `eval prepare` wrote (its hash is {version[:12]}, {_ABOUT} says {about['version'][:12]}); "
            "prepare the download again."
        )
    root = (folder / about["root"]).resolve()
    chosen = tuple(i for i in items if not subsets or i.subset in subsets)
    return Data(root, chosen, version, about["known_as"], tuple(about["notes"]), about["protocol"])


def _item(row: dict[str, Any], where: str) -> Item:
    try:
        return Item(**{**row, "audios": tuple(row["audios"])})
    except (TypeError, KeyError) as err:
        raise EvaluationError(f"{where}: is no prepared question ({err}); prepare the download again.") from err


def check_version(data: Data, wanted: str | None) -> Data:
    """Refuse questions whose content hash does not begin with `wanted`; None: any will do.

    Raises:
        EvaluationError: telling both.
    """
    if wanted and not data.version.startswith(wanted.lower()):
        raise EvaluationError(
            f"{data.root}: the questions have the content hash {data.version}, {wanted} is asked for; fetch that version, or leave the hash "
            "out and have it told in the scores."
        )
    return data


def summary(benchmark: Benchmark, data: Data) -> str:
    """What was found, for a person."""
    counts: dict[str, int] = {}
    for item in data.items:
        counts[item.subset or "all"] = counts.get(item.subset or "all", 0) + 1
    known = data.known_as or "none that is known here"
    lines = [
        f"{benchmark.name}: {len(data.items)} questions, {len({a for i in data.items for a in i.audios})} clips",
        *(f"  {name}: {count}" for name, count in counts.items()),
        f"version: {known} (content {data.version[:16]})",
        *(f"note: {note}" for note in data.notes),
    ]
    return "\n".join(lines)
