"""Texts of a benchmark's own repository, read out of the user's clone: they are published there, some without a licence."""

import ast
from pathlib import Path

from nemo_desta.errors import EvaluationError

__all__ = ["text_constant"]


def text_constant(path: Path, name: str) -> str:
    """The string that a Python file assigns to `name`, wherever in the file; nothing of the file is executed.

    A text may be stripped where it is assigned: a literal, then `.strip()`.

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
    assigned = (
        _text(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    )
    found = {text for text in assigned if text is not None}
    if len(found) != 1:
        raise EvaluationError(
            f"{path}: {len(found)} texts are named {name!r}, one is expected; is the clone of another version?"
        )
    return found.pop()


def _text(value: ast.expr) -> str | None:
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="strip"), args=[], keywords=[]):
            return text.strip()
    return None
