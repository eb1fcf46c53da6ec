"""Word and character error rates by jiwer, after Whisper's normalisers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from nemo_desta.evaluation.statistics import Interval, bootstrap_interval, ratio

__all__ = [
    "ErrorRate",
    "corpus_cer",
    "corpus_wer",
    "error_rate",
    "mean_cer",
    "mean_wer",
    "normalize_basic",
    "normalize_english",
]

Unit = Literal["word", "character"]


@cache
def _normaliser(kind: str) -> Callable[[str], str]:
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    return BasicTextNormalizer() if kind == "basic" else EnglishTextNormalizer()


def normalize_basic(text: str) -> str:
    """Whisper's normaliser for any language: lower case, no brackets with their content, no marks and punctuation."""
    return _normaliser("basic")(text).strip()


def normalize_english(text: str) -> str:
    """Whisper's normaliser for English: numbers, contractions and spellings made alike, too."""
    return _normaliser("english")(text).strip()


@dataclass(frozen=True)
class ErrorRate:
    """Errors of hypotheses against references.

    Attributes:
        corpus: all errors over all reference units, with its 95 % interval (bootstrap over utterances).
        mean: the mean of the utterances' own rates with its interval, those with an empty reference left out.
        n: utterances.
        empty: utterances whose reference has no unit: what is said there counts as insertions in `corpus`.
    """

    corpus: Interval
    mean: Interval
    n: int
    empty: int


def error_rate(references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word", seed: int = 0) -> ErrorRate:
    """Word or character error rate of texts that are normalised already.

    jiwer refuses an empty reference; here its insertions are counted, so that no utterance leaves the corpus figure.

    Raises:
        ValueError: the numbers of references and hypotheses differ.
    """
    counts = np.array([_counts(r, h, unit) for r, h in zip(references, hypotheses, strict=True)], dtype=float).reshape(
        -1, 2
    )
    errors, lengths = counts[:, 0], counts[:, 1]
    spoken = lengths > 0
    empty = int((~spoken).sum())
    if not spoken.any():
        undefined = Interval(np.nan, np.nan, np.nan)
        return ErrorRate(undefined, undefined, len(counts), empty)
    rates = errors[spoken] / lengths[spoken]
    mean = bootstrap_interval(lambda w: w @ rates / w.sum(axis=1), len(rates), seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        corpus = bootstrap_interval(lambda w: ratio(errors, lengths, w), len(counts), seed)
    return ErrorRate(corpus, mean, len(counts), empty)


def _counts(reference: str, hypothesis: str, unit: Unit) -> tuple[int, int]:
    """Errors and reference units of one utterance."""
    import jiwer

    if not reference.split():
        said = hypothesis.split() if unit == "word" else hypothesis.strip()
        return len(said), 0
    out = (jiwer.process_words if unit == "word" else jiwer.process_characters)(reference, hypothesis)
    return out.substitutions + out.deletions + out.insertions, out.hits + out.substitutions + out.deletions


def corpus_wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """All word errors over all reference words; NaN without any."""
    return _corpus(references, hypotheses, "word")


def corpus_cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """All character errors over all reference characters; NaN without any."""
    return _corpus(references, hypotheses, "character")


def mean_wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Mean of the utterances' word error rates; empty references are left out."""
    return _mean(references, hypotheses, "word")


def mean_cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Mean of the utterances' character error rates; empty references are left out."""
    return _mean(references, hypotheses, "character")


def _corpus(references: Sequence[str], hypotheses: Sequence[str], unit: Unit) -> float:
    counts = [_counts(r, h, unit) for r, h in zip(references, hypotheses, strict=True)]
    length = sum(n for _, n in counts)
    return sum(e for e, _ in counts) / length if length else float("nan")


def _mean(references: Sequence[str], hypotheses: Sequence[str], unit: Unit) -> float:
    counts = [_counts(r, h, unit) for r, h in zip(references, hypotheses, strict=True)]
    rates = [e / n for e, n in counts if n]
    return sum(rates) / len(rates) if rates else float("nan")
