"""predictions.jsonl while it grows: whole lines survive a kill, a line that was cut off does not."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.predictions import NAME
from nemo_desta.files import json_bytes, whole_file

__all__ = ["PredictionStore"]


class PredictionStore:
    """The answers of one predictor to one benchmark.

    Args:
        folder: of the predictor; the caller holds its lock and has checked its manifest.
        ids: of the questions, in their order.

    Attributes:
        rows: id -> line, of what is answered.

    Raises:
        EvaluationError: the unfinished file is damaged elsewhere than at its end.
    """

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self.path, self.ids = folder / NAME, ids
        self._partial = folder / f"{NAME}.partial"
        self.rows: dict[str, dict[str, Any]] = {}
        wanted = set(ids)
        for file in (self.path, self._partial):
            for row in _whole_lines(file):
                known = self.rows.get(row["id"])
                if row["id"] in wanted and (known is None or "response" not in known):
                    self.rows[row["id"]] = row

    @property
    def finished(self) -> bool:
        """Whether every question has its line in the finished file."""
        return self.path.is_file() and not self._partial.exists() and len(self.rows) == len(self.ids)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append lines and make them safe."""
        new = [dict(r) for r in rows if r["id"] not in self.rows]
        try:
            with self._partial.open("ab") as out:
                out.write(b"".join(json_bytes(r) + b"\n" for r in new))
                out.flush()
                os.fsync(out.fileno())
        except OSError as err:
            raise EvaluationError(f"{self._partial}: cannot write ({err}); make room and start again.") from err
        self.rows.update((r["id"], r) for r in new)

    def forget_failures(self) -> None:
        """Let a new run try again what failed in the last one."""
        self.rows = {name: row for name, row in self.rows.items() if "response" in row}

    def publish(self) -> Path:
        """Write the finished file, lines in the order of the questions."""
        with whole_file(self.path) as out:
            for name in self.ids:
                out.write(json_bytes(self.rows[name]) + b"\n")
        self._partial.unlink(missing_ok=True)
        return self.path


def _whole_lines(path: Path) -> Iterable[dict[str, Any]]:
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            row["id"]
        except (ValueError, KeyError, TypeError) as err:
            raise EvaluationError(f"{path}:{number}: is damaged ({err}); remove this line and start again.") from err
        yield row
