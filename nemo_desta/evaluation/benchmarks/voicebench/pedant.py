"""PEDANT, the answer matcher of sd-qa's other half, as qa_metrics 0.2.17 has it: substring, else a small classifier.

Another version gives other figures (0.2.30: 74.50 where 0.2.17 gives 47.74 on the same answers). The classifier and its
vectoriser are pickles, which run code when they are loaded: that is done only for files whose hash the user states.
"""

import hashlib
import io
import string
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np
from scipy.sparse import hstack

from nemo_desta.errors import EvaluationError
from nemo_desta.schema import suggest

__all__ = ["OPTIONS", "Pedant", "from_options", "holds", "normalised"]

OPTIONS = ("pedant", "pedant_sha256")
_FILES = ("lr_classifier", "tf-idf_vectorizer")
_TRAINED_WITH = "1.3.2"
_ARTICLES = ("a", "an", "the")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, blanks as one."""
    runs = ("".join(run) for _, run in groupby(text.lower().translate(_NO_PUNCTUATION), _in_word))
    return " ".join("".join(" " if run in _ARTICLES else run for run in runs).split())


def _in_word(char: str) -> bool:
    r"""A word's characters as qa_metrics' package regex knows them: its \w has combining marks, that of `re` has none, and would
    take an article out of a decomposed "á"."""
    kind = category(char)
    return kind[0] in "LM" or kind in ("Nd", "Nl", "Pc") or char in "\u200c\u200d"


def holds(reference: str, response: str) -> bool:
    """Whether the normalised reference stands in the normalised response, inside words too; PEDANT asks no further then."""
    return normalised(reference) in normalised(response)


class Pedant:
    """The matcher with its two trained parts.

    Args:
        model: `predict(features)` to an array of labels, "correct" among them.
        vectorizer: `transform(list of texts)` to a sparse row each.
        expand: of contractions ("dont" to "do not"), the function `contractions.fix`.
        version: of scikit-learn, for the notes.
    """

    def __init__(self, model: Any, vectorizer: Any, expand: Callable[[str], str], version: str = "") -> None:
        self._model, self._vectorizer, self._expand, self.version = model, vectorizer, expand, version

    def matches(self, reference: str, response: str, question: str) -> bool:
        """PEDANT().evaluate([reference], response, question) of qa_metrics 0.2.17, all three lower-cased as VoiceBench does."""
        reference, response, question = reference.lower(), response.lower(), question.lower()
        if holds(reference, response):
            return True
        gold, said = normalised(reference), normalised(response)
        text = f"[CLS] {said} [SEP] {gold} [SEP] {self._expand(normalised(question))} [SEP]"
        overlap = [np.array([[value]]) for value in self._overlap(said, gold)]
        features = hstack([self._vectorizer.transform([text]), *overlap])
        return "correct" in self._model.predict(features)

    def _overlap(self, said: str, gold: str) -> tuple[float, float, float]:
        """F1, precision, recall of two sets of words."""
        words, wanted = (set(normalised(self._expand(text)).split()) for text in (said, gold))
        common = len(words & wanted)
        precision = common / len(words) if words else 0.0
        recall = common / len(wanted) if wanted else 0.0
        return (2 * precision * recall / (precision + recall) if common else 0.0), precision, recall


def from_options(options: Mapping[str, str]) -> Pedant | None:
    """The matcher that `pedant` (folder) and `pedant_sha256` ask for; None where neither is given.

    Raises:
        EvaluationError: one without the other, an option that is none, a file that is missing, another hash, a package
            that is missing, files that cannot be loaded.
    """
    for name in options:
        if name not in OPTIONS:
            raise EvaluationError(f"voicebench has no option {name!r}{suggest(name, OPTIONS)}.")
    if not options:
        return None
    if set(options) != set(OPTIONS):
        raise EvaluationError(
            "PEDANT needs both options: pedant, the folder with lr_classifier and tf-idf_vectorizer of qa_metrics, and "
            "pedant_sha256, their hash (cat lr_classifier tf-idf_vectorizer | sha256sum). They are pickles, which run code when "
            "loaded: take the hash from somebody you trust."
        )
    return _loaded(Path(options["pedant"]), str(options["pedant_sha256"]).strip().lower())


def _loaded(folder: Path, wanted: str) -> Pedant:
    contents = [_bytes(folder, name) for name in _FILES]
    found = hashlib.sha256(b"".join(contents)).hexdigest()
    if found != wanted:
        raise EvaluationError(
            f"{folder}: PEDANT's files have the sha256 {found}, pedant_sha256 says {wanted}; they are not loaded."
        )
    try:
        import contractions
        import joblib
        import sklearn
    except ImportError as err:
        raise EvaluationError(
            f"PEDANT needs a package that is not installed ({err}); pip install 'nemo-desta[pedant]' scikit-learn=={_TRAINED_WITH}."
        ) from err
    try:
        model, vectorizer = (joblib.load(io.BytesIO(content)) for content in contents)
    except Exception as err:  # a pickle of another version fails in any way
        raise EvaluationError(
            f"{folder}: PEDANT's files cannot be loaded with scikit-learn {sklearn.__version__} ({err}); they were made with "
            f"{_TRAINED_WITH}."
        ) from err
    return Pedant(model, vectorizer, contractions.fix, sklearn.__version__)


def _bytes(folder: Path, name: str) -> bytes:
    for path in (folder / name, folder / f"{name}.pkl"):
        if path.is_file():
            return path.read_bytes()
    raise EvaluationError(f"{folder}: holds no {name}; it stands in qa_metrics/classifier of zli12321/qa_metrics.")
