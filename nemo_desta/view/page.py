"""Sampled rows and distributions of a folder as one self-contained page."""

import json
from pathlib import Path
from typing import Any

from nemo_desta.errors import ConfigError
from nemo_desta.view.charts import Bar, bars, histogram, top
from nemo_desta.view.html import assets, environment
from nemo_desta.view.sampling import VERDICTS, Distributions, Row, find_files, read_folder
from nemo_desta.view.sound import Shown, frequency_marks, show_clip

__all__ = ["write_view"]

_ATTRIBUTES = 16
_HERE = "nemo_desta.view"


def write_view(
    output_dir: str | Path,
    audio_root: str | Path | None = None,
    rows: int = 60,
    seed: int = 0,
    output: str | Path | None = None,
) -> Path:
    """Write the page and return its path. Everything from the data is escaped; nothing is fetched.

    Args:
        output_dir: of self-generation, of an import, or a package in JSONL.
        audio_root: folder of the clips; None: the one that the folder's manifest states, else the folder itself.
        rows: how many to show, shared among ok, filtered, failed and missing as evenly as their numbers allow.
        seed: of the draw.
        output: the page; None: `view.html` in the folder.

    Raises:
        ConfigError: a value is out of range, or the audio root is no folder.
        RecordError: the folder holds no records.
    """
    folder = Path(output_dir)
    if rows < 1:
        raise ConfigError(f"--rows {rows}: must be at least 1.")
    if audio_root is not None and not Path(audio_root).is_dir():
        raise ConfigError(f"--audio-root {audio_root}: no such folder.")
    found = find_files(folder)
    root = Path(audio_root) if audio_root is not None else _stated_root(folder) or folder
    drawn, counts = read_folder(found, rows, seed)
    page = environment(_HERE).get_template("page.html").render(
        folder=folder.resolve().name, rows=[_shown(row, root) for row in drawn], counts=counts,
        verdicts=[v for v in VERDICTS if counts.verdicts[v]], charts=_charts(counts), marks=frequency_marks(),
        seed=seed, **assets(((_HERE, "page.css"),), (_HERE, "page.js")),
    )  # fmt: skip
    path = Path(output) if output is not None else folder / "view.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _stated_root(folder: Path) -> Path | None:
    try:
        stated = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("audio_root")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(stated) if isinstance(stated, str) and Path(stated).is_dir() else None


def _shown(row: Row, root: Path) -> dict[str, Any]:
    clips: list[Shown] = [show_clip(root, path, text) for path, text in row.clips]
    return {
        "verdict": row.verdict, "kind": row.kind or "(not stated)", "id": row.text("id") or "(no id)", "where": row.where,
        "reason": row.text("reason"), "dataset": row.text("dataset"), "seed": row.text("seed_description"),
        "prompt": row.text("prompt"), "response": row.text("response"), "raw": row.text("text"), "clips": clips,
        "messages": [(str(m.get("role", "")), str(m.get("content", ""))) for m in row.messages],
        "provenance": [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in row.provenance.items()],
    }  # fmt: skip


def _charts(counts: Distributions) -> dict[str, Any]:
    measured = sum(sum(c.values()) for c in counts.tokens.values())
    in_words = sum(sum(c.values()) for c in counts.words.values())
    lengths = (counts.tokens, "tokens") if measured * 2 > in_words else (counts.words, "words")
    names = sorted(counts.attributes, key=lambda n: (-sum(counts.attributes[n].values()), n))
    attributes: list[tuple[str, list[Bar]]] = [(n, top(counts.attributes[n], "plain", 6)) for n in names[:_ATTRIBUTES]]
    return {
        "kinds": bars(counts.kinds),
        "datasets": bars(counts.datasets, 20) if len(counts.datasets) > 1 else [],
        "reasons": {v: top(c, v, 20) for v, c in counts.reasons.items()},
        "lengths": histogram(*lengths), "length_unit": lengths[1],
        "attributes": attributes, "more_attributes": len(names) - len(attributes),
    }  # fmt: skip
