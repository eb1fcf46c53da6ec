"""Templates of self-contained pages: everything escaped, control characters visible, one script admitted by its hash."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

__all__ = ["assets", "environment", "printed"]

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def environment(package: str) -> Environment:
    """Jinja over the templates of a package."""
    return Environment(
        loader=PackageLoader(package, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_finalize,
    )  # fmt: skip


def _finalize(value: Any) -> Any:
    """What a template prints: control characters become visible, so that no text can hide or reorder what follows."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _INVISIBLE.sub(_picture, value)
    return value


def printed(text: str) -> str:
    """A text as a page holds it."""
    return str(escape(_finalize(text)))


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


@cache
def assets(styles: Sequence[tuple[str, str]], script: tuple[str, str]) -> dict[str, Any]:
    """`style`, `script`, and `script_hash`, by which the page's policy admits this script and no other.

    Args:
        styles: (package, file) of each sheet, in order.
        script: (package, file).
    """
    sheet, code = "\n".join(_text(*s) for s in styles), _text(*script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return {"style": Markup(sheet), "script": Markup(code), "script_hash": f"sha256-{digest}"}


def _text(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
