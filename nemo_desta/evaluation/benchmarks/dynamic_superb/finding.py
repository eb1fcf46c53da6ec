"""Where the instances of Dynamic-SUPERB lie in a download."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nemo_desta.errors import EvaluationError

__all__ = ["DOWNLOAD", "Place", "find_places"]

DOWNLOAD = (
    "Dynamic-SUPERB: download the datasets DynamicSuperb/<instance> (55 of phase 1, such as DynamicSuperb/SpeechDetection_LJSpeech) "
    "into folders of their names and give the folder above them; or give the save folder of the benchmark's preprocess script "
    "(<instance>/metadata.json with the audio beside it)."
)
_SPLIT = re.compile(r"^(?P<name>.+?)-\d{5}-of-\d{5}$")
_OTHER_SPLITS = ("train", "validation", "valid", "dev")
_NO_NAMES = ("test", "data", "default")


@dataclass(frozen=True)
class Place:
    """One instance.

    Attributes:
        name: as its folder or file has it.
        folder: that holds metadata.json or the instance's files.
        parquet: its files in order; () where it is a folder with metadata.json.
    """

    name: str
    folder: Path
    parquet: tuple[Path, ...] = ()


def find_places(source: Path) -> list[Place]:
    """The instances under a folder: metadata.json where there is one, else parquet of the split test.

    Raises:
        EvaluationError: there is none.
    """
    places = list(_walk(source)) if source.is_dir() else []
    if not places:
        raise EvaluationError(
            f"{source}: holds neither <instance>/metadata.json nor <instance>/**/test-*.parquet. {DOWNLOAD}"
        )
    return places


def _walk(source: Path) -> Iterator[Place]:
    packed: dict[tuple[str, Path], list[Path]] = {}
    seen: set[str] = set()
    for here, folders, files in os.walk(source, followlinks=True):
        folder, real = Path(here), os.path.realpath(here)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _OTHER_SPLITS and real not in seen)
        if real in seen:
            continue
        seen.add(real)
        if "metadata.json" in files:
            folders.clear()
            yield Place(_named(folder).name, folder)
            continue
        for file in sorted(f for f in files if f.endswith(".parquet")):
            found = _instance_of(folder, Path(file).stem)
            if found is not None:
                packed.setdefault(found, []).append(folder / file)
    yield from (Place(name, folder, tuple(files)) for (name, folder), files in packed.items())


def _named(folder: Path) -> Path:
    """The nearest folder whose name is one of an instance: not test/, not data/."""
    named = folder.absolute()
    while named.name in _NO_NAMES:
        named = named.parent
    return named


def _instance_of(folder: Path, stem: str) -> tuple[str, Path] | None:
    """Instance of a parquet file: its folder's, or its own name where that names one; None: of another split."""
    found = _SPLIT.match(stem)
    split = found["name"] if found else stem
    if split in _OTHER_SPLITS:
        return None
    if "_" in split and not split.startswith("test"):
        return split, folder
    return _named(folder).name, _named(folder)
