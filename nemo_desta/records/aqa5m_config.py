"""The settings of the DeSTA-AQA5M import, and what it reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemo_desta.errors import ConfigError

__all__ = ["ImportConfig", "ImportSummary"]


@dataclass(frozen=True)
class ImportConfig:
    """Settings of the import; conf/import_aqa5m.yaml holds them with comments."""

    records: str | list[str]
    """The released JSONL file(s): a path, a list, or patterns."""
    audio_root: str
    """Folder that holds the corpora; the rows name their clips relative to it."""
    output_dir: str
    """Gets records.jsonl, missing.jsonl, failed.jsonl and import.json; a folder that was begun is continued."""
    path_map: dict[str, str] = field(default_factory=dict)
    """Corpus (the rows' `dataset`) -> folder below audio_root that stands in place of the first folder of its paths."""
    other_endings: list[str] = field(default_factory=lambda: [".wav"])
    """Tried in this order where a clip is not there under its own ending; the official loader tries .wav."""
    check: str = "exists"
    """exists: the file is there and not empty. decode: it is read as training reads it; takes hours for all of the release."""
    repeated_ids: str = "number"
    """number: the second row with an id becomes `<id>#2`, and so on. refuse: they end the import."""
    backbone: str | None = "meta-llama/Llama-3.1-8B-Instruct"
    """The LLM that wrote the responses, for the provenance of the records."""
    max_missing: float | None = None
    """Share of rows without audio above which the import fails at its end; None: any share is accepted."""
    max_failed: float = 0.0
    """Share of rows that are no records above which the import stops."""
    workers: int = 8
    """Threads that look for audio; more help on network file systems."""
    progress: bool = True
    """Show a bar with the time left."""

    def checked(self) -> "ImportConfig":
        """Itself.

        Raises:
            ConfigError: naming every value that is out of range.
        """
        wrong = []
        if self.check not in ("exists", "decode"):
            wrong.append(f"check={self.check!r}: there are exists and decode")
        if self.repeated_ids not in ("number", "refuse"):
            wrong.append(f"repeated_ids={self.repeated_ids!r}: there are number and refuse")
        if self.workers < 1:
            wrong.append(f"workers={self.workers} must be at least 1")
        for key in ("max_missing", "max_failed"):
            if getattr(self, key) is not None and not 0 <= getattr(self, key) <= 1:
                wrong.append(f"{key}={getattr(self, key)} is a share, from 0 to 1")
        bad = [e for e in self.other_endings if not e.startswith(".") or "/" in e]
        if bad:
            wrong.append(f"other_endings={bad}: an ending is written like .wav")
        if Path(self.output_dir).is_file():
            wrong.append(f"output_dir={self.output_dir}: is a file")
        if wrong:
            raise ConfigError("import-aqa5m: " + "; ".join(wrong) + ".")
        return self


@dataclass(frozen=True)
class ImportSummary:
    """What `import.json` says.

    Attributes:
        total: rows; found + missing + failed equals it.
        found: records written.
        missing: rows of which a clip is not there.
        failed: rows that are no records.
        other_ending: rows with a clip found under another ending than the row names.
        repeated_ids: rows whose id an earlier row has.
        corpora: dataset -> {"rows", "found", "missing"}; failed rows belong to none.
        source: hash of the input files.
        seconds, new_rows: of this run.
    """

    total: int
    found: int
    missing: int
    failed: int
    other_ending: int
    repeated_ids: int
    corpora: Mapping[str, Mapping[str, int]]
    source: str
    seconds: float
    new_rows: int
    path: str

    def __str__(self) -> str:
        rate = f", {self.new_rows / self.seconds:.0f} rows/s" if self.new_rows and self.seconds else ""
        lines = [
            f"{self.path}: {self.found} found + {self.missing} without audio + {self.failed} failed = {self.total} rows "
            f"({self.seconds:.0f} s{rate})"
        ]
        if self.other_ending:
            lines.append(f"{self.other_ending} rows have a clip under another ending than they name")
        if self.repeated_ids:
            lines.append(
                f"{self.repeated_ids} rows have an id that stands before; they are numbered: <id>#2, <id>#3, ..."
            )
        return "\n".join([*lines, *_table(self.corpora)])


def _table(corpora: Mapping[str, Mapping[str, int]]) -> list[str]:
    width = max([6, *map(len, corpora)])
    rows: list[tuple[Any, ...]] = [("corpus", "rows", "found", "missing", "missing %")]
    for name, c in sorted(corpora.items(), key=lambda x: (-x[1]["rows"], x[0])):
        rows.append((name or "(none)", c["rows"], c["found"], c["missing"], f"{100 * c['missing'] / c['rows']:.1f}"))
    return [f"{r[0]:<{width}} {r[1]:>9} {r[2]:>9} {r[3]:>9} {r[4]:>9}" for r in rows]
