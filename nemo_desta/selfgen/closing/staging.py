"""Replacing several files of a folder as one: all of them, or none, whenever the process dies.

New files are written below `<folder>/.work/closing/`. One small file, `commit.json`, written last and atomically, says
that all of them are whole; from then on they are moved to their places, by whoever comes next if this process dies
between two moves. Before it exists, nothing outside the staging folder has changed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from nemo_desta.errors import SelfGenError
from nemo_desta.files import sync_folder, write_json

__all__ = ["Staging"]

_COMMIT = "commit.json"


class Staging:
    """New versions of files in one folder.

    Making one finishes what an earlier process had committed, and throws away what it had not.

    Args:
        folder: the output directory, locked by the caller.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / ".work" / "closing"
        self._names: list[str] = []
        if (self.root / _COMMIT).is_file():
            self._move()
        shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """The new version of a file, to be written in binary.

        Args:
            name: path relative to the folder, with forward slashes.

        Raises:
            SelfGenError: the disk refuses; the folder is as it was.
        """
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
        except OSError as err:
            raise SelfGenError(
                f"{path}: cannot be written ({err}); the finished rows are as they were: make room and start again."
            ) from err
        self._names.append(name)

    def write(self, name: str, content: str) -> None:
        """A text as the new version of a file."""
        with self.open(name) as file:
            file.write(content.encode("utf-8", "surrogatepass"))

    def path(self, name: str) -> Path:
        """Where the new version lies until the commit."""
        return self.root / name

    def current(self, name: str) -> Path:
        """The new version if there is one, otherwise the file as it is."""
        return self.path(name) if name in self._names else self.folder / name

    def commit(self) -> None:
        """Put all new versions in place.

        Raises:
            SelfGenError: the disk refuses; the folder is as it was.
        """
        try:
            write_json(self.root / _COMMIT, self._names)
        except OSError as err:
            raise SelfGenError(
                f"{self.root}: cannot be written ({err}); the finished rows are as they were: make room and start again."
            ) from err
        self._move()
        shutil.rmtree(self.root, ignore_errors=True)

    def _move(self) -> None:
        for name in json.loads((self.root / _COMMIT).read_text(encoding="utf-8")):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise SelfGenError(f"{self.root / _COMMIT}: {name!r} leaves the folder; the file was changed by hand.")
            source, target = self.path(name), self.folder / name
            if source.is_file():  # otherwise it was moved before
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
                sync_folder(target.parent)
        (self.root / _COMMIT).unlink()
        sync_folder(self.root)
