"""Lhotse recipes of nemo_desta: one corpus a file, and their command group (`desta-lhotse`).

`prepare_<corpus>(corpus_dir, output_dir, ...)` turns a corpus, as its authors distribute it, into Lhotse manifests whose
supervisions carry what a seed description needs; corpus.py says which files that makes. `prepare_desta_mini` makes its
corpus, too.
"""

from importlib import import_module
from typing import Any

__all__ = [
    "prepare_crema_d",
    "prepare_desta_mini",
    "prepare_esc50",
    "prepare_esd",
    "prepare_gtzan",
    "prepare_vctk",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"nemo_desta.recipes.{name.removeprefix('prepare_')}"), name)
    raise AttributeError(f"module 'nemo_desta.recipes' has no attribute {name!r}")
