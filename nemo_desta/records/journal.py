"""Output files that grow by appending and survive `kill -9`: cut back to the last commit on the next start.

A commit makes what was written durable and then notes the sizes of the files together with the caller's state, in one
file that is replaced atomically. What was written behind the last commit is cut off and made again.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from nemo_desta.errors import ConfigError, RecordError
from nemo_desta.files import check_manifest, sync_folder, write_json

__all__ = ["WORK", "Journal", "begin", "sweep"]

WORK = ".work"
"""Folder of unfinished files in an output folder."""


def begin(folder: Path, done: str, settings: Mapping[str, Any]) -> bool:
    """Begin or continue the work in an output folder that this process has locked.

    Nothing is held against a folder in which nothing was committed: its settings may still change.

    Args:
        folder: the output folder.
        done: name of the file that stands there when all is finished.
        settings: what the output depends on; `made_by` says which command they are of.

    Returns:
        Whether all is finished.

    Raises:
        ConfigError: the folder holds files that are not of this command.
        SelfGenError: it was begun with other settings.
    """
    manifest = folder / "manifest.json"
    try:
        of = json.loads(manifest.read_text(encoding="utf-8")).get("made_by") if manifest.exists() else None
    except (OSError, ValueError, AttributeError):
        of = "?"
    strangers = of is None and any(not p.name.startswith(".") for p in folder.iterdir())
    if strangers or of not in (None, settings["made_by"]):
        raise ConfigError(
            f"{folder}: holds other files; give an empty folder, or one that was begun by nemo-desta {settings['made_by']}."
        )
    finished = (folder / done).is_file()
    if not finished and not (folder / WORK / "progress.json").is_file():
        manifest.unlink(missing_ok=True)
    check_manifest(manifest, settings)
    if finished:
        sweep(folder)
    return finished


def sweep(folder: Path) -> None:
    """Remove from a finished output folder what was needed to make it, and what interrupted writes left."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    for leftover in folder.glob(".*.json.*.tmp"):
        leftover.unlink()


class Journal:
    """Several output files and the state of the work that fills them.

    Args:
        output: the output folder; unfinished files and `progress.json` lie in its folder `.work`.
        targets: name -> where the finished file goes.

    Attributes:
        state: what the last commit noted; None at the beginning.

    Raises:
        RecordError: the unfinished files are shorter than the last commit says.
    """

    def __init__(self, output: Path, targets: Mapping[str, Path]) -> None:
        self.folder, self.targets = output / WORK, dict(targets)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._progress = self.folder / "progress.json"
        noted = json.loads(self._progress.read_text(encoding="utf-8")) if self._progress.is_file() else None
        self.state: Any = noted["state"] if noted else None
        sizes = noted["sizes"] if noted else dict.fromkeys(targets, 0)
        self._files = {name: self._open(name, sizes[name]) for name in targets}

    def _open(self, name: str, size: int) -> BinaryIO | None:
        partial, target = self._partial(name), self.targets[name]
        if not partial.exists() and target.is_file() and target.stat().st_size == size and self.state is not None:
            return None  # the last run was stopped between publishing one file and the next
        file = partial.open("ab")
        if file.seek(0, os.SEEK_END) < size:
            file.close()
            raise RecordError(f"{partial}: is shorter than it was; remove the output folder and start again.")
        file.truncate(size)
        return file

    def _partial(self, name: str) -> Path:
        return self.folder / f"{name}.partial"

    def write(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one JSON line.

        Raises:
            RecordError: the disk refuses.
        """
        try:
            self._files[name].write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        except OSError as err:
            raise RecordError(
                f"{self._partial(name)}: cannot write ({err}); what was finished is safe: make room and start again."
            ) from err

    def commit(self, state: Any) -> None:
        """Make everything written so far, and `state` (plain JSON), survive whatever comes.

        Raises:
            RecordError: the disk refuses.
        """
        try:
            sizes = {name: self._synced_size(name) for name in self.targets}
            write_json(self._progress, {"sizes": sizes, "state": state})
        except OSError as err:
            raise RecordError(
                f"{self.folder}: cannot write ({err}); what was finished is safe: make room and start again."
            ) from err
        self.state = state

    def _synced_size(self, name: str) -> int:
        file = self._files[name]
        if file is None:
            return self.targets[name].stat().st_size
        file.flush()
        os.fsync(file.fileno())
        return file.tell()

    def publish(self) -> None:
        """Move the files to where they belong; call it after the last commit, as often as needed."""
        self.close()
        for name, target in self.targets.items():
            if self._files[name] is not None:
                os.replace(self._partial(name), target)
                sync_folder(target.parent)
                self._files[name] = None

    def close(self) -> None:
        """Close the files; what was not committed is cut off at the next start."""
        for file in self._files.values():
            if file is not None:
                file.close()
