"""The closing pass over a directory whose rows are all there."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nemo_desta.errors import SelfGenError
from nemo_desta.files import json_bytes
from nemo_desta.selfgen.closing.card import card
from nemo_desta.selfgen.closing.duplicates import DuplicateOptions, Duplicates, find_duplicates
from nemo_desta.selfgen.closing.lines import read_at, read_rows
from nemo_desta.selfgen.closing.report import report
from nemo_desta.selfgen.closing.staging import Staging
from nemo_desta.selfgen.closing.tally import Tally
from nemo_desta.selfgen.summary import Summary

__all__ = ["finish"]


def finish(folder: Path) -> Summary:
    """Set duplicates apart, write report.md and the dataset card README.md, and note in summary.json that it is done.

    All files change together or not at all; a directory that is finished is left as it is. So this can be stopped at
    any moment and called again. It needs room for a second copy of the rows while it works.

    Args:
        folder: output directory with summary.json, locked by the caller.

    Raises:
        SelfGenError: a file is missing or was changed, the rows do not add up, or the disk is full.
    """
    staging = Staging(folder)
    summary = Summary(**_json(folder / "summary.json"))
    if summary.finished:
        return summary
    manifest = _json(folder / "manifest.json")
    name = f"{manifest['name']}.jsonl"
    found = Duplicates()
    if manifest.get("duplicates") is not None:  # a directory begun before there was this pass has none
        found = find_duplicates(folder / name, DuplicateOptions.parse(manifest.get("duplicates")))
    if found.found:
        _set_apart(folder, staging, name, found)
    tally = _tally(staging, name)
    summary = _checked(summary, tally, folder)
    corpora = folder / "corpora.json"
    staging.write("report.md", report(summary, tally, manifest, found.too_large))
    staging.write("README.md", card(summary, tally, manifest, _json(corpora) if corpora.is_file() else []))
    staging.write("summary.json", json.dumps(asdict(summary), ensure_ascii=False, indent=2, sort_keys=True) + "\n")
    staging.commit()
    return summary


def _set_apart(folder: Path, staging: Staging, name: str, found: Duplicates) -> None:
    """New versions of the fit rows, without what was found, and of the filtered ones, with it at their end."""
    filtered = f"filtered/{name}"
    with (
        (folder / name).open("rb") as source,
        staging.open(name) as fit,
        staging.open(filtered) as apart,
    ):
        for _, line, _ in read_rows(folder / filtered):
            apart.write(line)
        for number, (_, line, row) in enumerate(read_rows(folder / name)):
            if number not in found.found:
                fit.write(line)
                continue
            reason, offset = found.found[number]
            matched = f"says the same as {read_at(source, offset)['id']}"
            provenance = {**(row.get("provenance") or {}), "matched": matched}
            apart.write(json_bytes({**row, "provenance": provenance, "reason": reason}) + b"\n")


def _tally(staging: Staging, name: str) -> Tally:
    tally = Tally()
    tally.add_fit(_rows(staging.current(name)))
    tally.add_filtered(_rows(staging.current(f"filtered/{name}")))
    tally.add_failed(_rows(staging.current(f"failed/{name}")))
    return tally


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    return (row for _, _, row in read_rows(path))


def _checked(summary: Summary, tally: Tally, folder: Path) -> Summary:
    """The summary with the counts that were counted anew, marked as finished."""
    counts = {status: tally.rows[status] for status in ("ok", "filtered", "failed")}
    if sum(counts.values()) != summary.total or counts["failed"] != summary.failed:
        raise SelfGenError(
            f"{folder}: its files hold {counts}, {summary.total} rows with {summary.failed} failed ones were written; "
            "a file was changed by hand. Restore it, or make the rows again in a new directory."
        )
    reasons = {f"filtered: {reason}": count for reason, count in tally.reasons.items()}
    if counts["failed"]:
        reasons["failed"] = counts["failed"]
    return replace(summary, **counts, reasons=reasons, finished=True)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise SelfGenError(f"{path}: not readable as JSON ({err}); restore it.") from err
