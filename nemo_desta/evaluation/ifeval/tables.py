"""Converter of `sentences.PUNKT`: the tables are plain text and are taken as they are."""

import shutil
from pathlib import Path

__all__ = ["convert"]


def convert(raw: Path, out: Path) -> None:
    """Copy every file of `raw` to `out`."""
    for path in raw.iterdir():
        shutil.copyfile(path, out / path.name)
