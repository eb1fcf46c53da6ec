"""One set of files from the shards of a self-generation, every row once and in the order of the input."""

import json
import os
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from nemo_desta.errors import SelfGenError
from nemo_desta.files import lock_directory, sync_folder, write_json
from nemo_desta.selfgen.closing import finish
from nemo_desta.selfgen.summary import Summary

__all__ = ["merge_shards"]

_SHARD = re.compile(r"summary-(\d{5})-of-(\d{5})\.json")


def merge_shards(output_dir: str | Path) -> Summary:
    """Join the shards of a directory, check the counts, and take the shards' own files away.

    Can be stopped at any moment and started again; in whatever order the shards were made, the files are the same,
    and the same as those of one process.

    Args:
        output_dir: of `run_selfgen(..., shard="i/n")` for every i.

    Raises:
        SelfGenError: shards are missing, still at work, or their rows do not add up.
    """
    folder = Path(output_dir)
    if not (folder / "manifest.json").is_file():
        raise SelfGenError(f"{folder}: no manifest.json; give the output directory of nemo-desta selfgen.")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    name, of = manifest["name"], manifest["num_shards"]
    with lock_directory(folder):
        done = folder / "summary.json"
        if not done.is_file():
            write_json(done, asdict(_merge(folder, name, of, manifest["input"]["cuts"] * manifest["prompts_per_cut"])))
        for number in range(of if of > 1 else 0):
            _remove(folder, name, f"-{number:05d}-of-{of:05d}")
        return finish(folder)


def _merge(folder: Path, name: str, of: int, expected: int) -> Summary:
    found = {int(m[1]) for p in folder.iterdir() if (m := _SHARD.fullmatch(p.name)) and int(m[2]) == of}
    missing = sorted(set(range(of)) - found)
    if missing:
        raise SelfGenError(
            f"{folder}: {len(missing)} of {of} shards are not finished: {', '.join(f'{i}/{of}' for i in missing[:8])}; "
            "run them with shard=i/n first."
        )
    suffixes = [f"-{i:05d}-of-{of:05d}" for i in range(of)]
    summaries = [Summary(**json.loads((folder / f"summary{s}.json").read_text(encoding="utf-8"))) for s in suffixes]
    total = _sum(summaries, str(folder / f"{name}.jsonl"))
    if total.total != expected or total.ok + total.filtered + total.failed != expected:
        raise SelfGenError(
            f"{folder}: the shards hold {total.total} rows, {expected} were asked for; make them again in a new directory."
        )
    for place, count in (("", total.ok), ("filtered", total.filtered), ("failed", total.failed)):
        _join([folder / place / f"{name}{s}.jsonl" for s in suffixes], folder / place / f"{name}.jsonl", count)
    return total


def _sum(summaries: list[Summary], path: str) -> Summary:
    reasons, unknown = Counter(), Counter()
    for summary in summaries:
        reasons.update(summary.reasons)
        unknown.update(summary.unknown_fields)
    fields = ("total", "ok", "filtered", "failed", "seconds", "new_rows", "new_tokens")
    sums = {k: sum(getattr(s, k) for s in summaries) for k in fields}
    sums["seconds"] = round(sums["seconds"], 3)
    unused = [name for name in summaries[0].unused_fields if all(name in s.unused_fields for s in summaries)]
    return replace(
        summaries[0], **sums, reasons=dict(reasons), unknown_fields=dict(unknown), path=path, unused_fields=unused
    )


def _join(parts: list[Path], target: Path, count: int) -> None:
    """Write the lines of all parts to the target, whole or not at all."""
    temporary, lines = target.with_name(f".{target.name}.tmp"), 0
    try:
        with temporary.open("wb") as out:
            for part in parts:
                with part.open("rb") as rows:
                    for line in rows:
                        out.write(line)
                        lines += 1
            out.flush()
            os.fsync(out.fileno())
    except OSError as err:
        raise SelfGenError(f"{target}: cannot be written ({err}); the shards are as they were.") from err
    if lines != count:
        raise SelfGenError(
            f"{target}: {lines} rows in the shards' files, {count} by their summaries; a file was changed."
        )
    os.replace(temporary, target)
    sync_folder(target.parent)


def _remove(folder: Path, name: str, suffix: str) -> None:
    for place in ("", "filtered", "failed"):
        (folder / place / f"{name}{suffix}.jsonl").unlink(missing_ok=True)
    (folder / f"summary{suffix}.json").unlink(missing_ok=True)
    (folder / f".lock{suffix}").unlink(missing_ok=True)
