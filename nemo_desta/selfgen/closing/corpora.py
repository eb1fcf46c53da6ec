"""What the recipes say of the corpora that a self-generation reads: name, licence, citation."""

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["FIELDS", "corpora_of"]

FIELDS = ("name", "license", "citation", "homepage", "domain")
"""Of `<prefix>_corpus.json`, which a recipe writes beside its manifests (recipes.corpus.CorpusInfo)."""
_SUFFIX = "_corpus.json"
_log = logging.getLogger(__name__)


def corpora_of(manifests: Iterable[str | os.PathLike[str]]) -> list[dict[str, str]]:
    """One entry for each corpus, in the order of the manifests; missing fields are empty.

    A manifest belongs to the file of the longest prefix that its name begins with; one without such a file makes an
    entry with its own name and nothing else, for the card to say so.
    """
    found: dict[str, dict[str, str]] = {}
    for manifest in map(Path, manifests):
        path = _beside(manifest)
        entry = (_read(path) if path else {}) or {"name": manifest.name.split(".")[0]}
        entry = {name: entry.get(name, "") for name in FIELDS}
        found.setdefault(entry["name"], entry)
    return list(found.values())


def _beside(manifest: Path) -> Path | None:
    fitting = [
        p for p in manifest.parent.glob(f"*{_SUFFIX}") if manifest.name.startswith(p.name.removesuffix(_SUFFIX) + "_")
    ]
    return max(fitting, key=lambda p: len(p.name), default=None)


def _read(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        _log.warning("%s: not readable as JSON (%s); the dataset card will not name the licence.", path, err)
        return {}
    if not isinstance(data, dict) or not data.get("name"):
        _log.warning("%s: names no corpus; the dataset card will not name the licence.", path)
        return {}
    return {name: str(data.get(name) or "") for name in FIELDS}
