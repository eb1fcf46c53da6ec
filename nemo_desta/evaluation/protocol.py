"""Texts of a benchmark's own repository, read out of the user's clone: they are published there, some without a licence."""

import ast
from pathlib import Path

from nemo_desta.errors import EvaluationError

__all__ = ["text_constant"]


def text_constant(path: Path, name: str) -> str:
    """The string that a Python file assigns to `name`, wherever in the file; nothing of the file is executed.

    Args:
        path: of the file in the clone.
        name: of the variable.

    Raises:
        EvaluationError: no such file, no Python, or not exactly one value of that name.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as err:
        raise EvaluationError(f"{path}: cannot be read ({err}); give a clone of the benchmark's repository.") from err
    found = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    if len(found) != 1:
        raise EvaluationError(
            f"{path}: {len(found)} texts are named {name!r}, one is expected; is the clone of another version?"
        )
    return found.pop()
