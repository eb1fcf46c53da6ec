"""JSON whose names say which question an entry is of: a name that is there twice is refused, where `json` keeps the last."""

import json
from pathlib import Path
from typing import Any

from nemo_desta.errors import EvaluationError

__all__ = ["read_keyed"]


class _TwiceError(Exception):
    pass


def read_keyed(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        EvaluationError: missing, unreadable, cut off, or a name is there twice in one object.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once)
    except OSError as err:
        raise EvaluationError(f"{path}: cannot be read ({err.strerror or err}); check the path.") from err
    except _TwiceError as err:
        raise EvaluationError(f"{path}: the name {err.args[0]!r} is there twice; keep one entry of each.") from None
    except (ValueError, RecursionError) as err:
        raise EvaluationError(f"{path}: is no JSON ({err}); was it cut off? Write or fetch it again.") from err


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found
