"""Reading finished rows one by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nemo_desta.errors import SelfGenError
from nemo_desta.files import json_value

__all__ = ["Line", "parse", "read_at", "read_rows"]

Line = tuple[int, bytes, dict[str, Any]]
"""Offset in the file, the line as it stands there, and the row."""


def read_rows(path: Path) -> Iterator[Line]:
    """Stream the rows of a file that self-generation wrote.

    Raises:
        SelfGenError: the file is missing, or a line of it is no JSON object.
    """
    if not path.is_file():
        raise SelfGenError(f"{path}: is gone; it was there when the rows were counted.")
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield offset, line, parse(line, f"{path}:{number}")
            offset += len(line)


def read_at(file: BinaryIO, offset: int) -> dict[str, Any]:
    """The row whose line begins at an offset."""
    file.seek(offset)
    return parse(file.readline(), f"{file.name}, byte {offset}")


def parse(line: bytes, where: str) -> dict[str, Any]:
    """One line; `where` is shown in errors."""
    try:
        row = json_value(line)
    except ValueError as err:
        raise SelfGenError(f"{where}: no JSON any more ({err}); the file was changed.") from err
    if not isinstance(row, dict) or "id" not in row:
        raise SelfGenError(f"{where}: no record any more; the file was changed.")
    return row
