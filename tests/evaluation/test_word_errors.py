"""Word and character error rates: corpus and mean, empty references, Whisper's normalisers."""

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.evaluation.word_errors import (
    corpus_cer,
    corpus_wer,
    error_rate,
    mean_wer,
    normalize_basic,
    normalize_english,
)

REFERENCES, HYPOTHESES = ["a b c d", "a"], ["a b c d", "b c"]


def test_the_corpus_figure_weighs_words_and_the_mean_weighs_utterances() -> None:
    assert corpus_wer(REFERENCES, HYPOTHESES) == pytest.approx(2 / 5)  # one substitution, one insertion, five words
    assert mean_wer(REFERENCES, HYPOTHESES) == pytest.approx((0 + 2) / 2)
    assert corpus_cer(["abc"], ["adc"]) == pytest.approx(1 / 3)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, max_size=6).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_corpus_figure_is_jiwers(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = map(list, zip(*pairs, strict=True))
    assert corpus_wer(references, hypotheses) == pytest.approx(jiwer.wer(references, hypotheses))
    assert corpus_cer(references, hypotheses) == pytest.approx(jiwer.cer(references, hypotheses))


def test_what_is_said_where_nothing_was_counts_as_insertions() -> None:
    rate = error_rate(["a b", ""], ["a b", "x"])
    assert rate.corpus.value == pytest.approx(1 / 2)
    assert (rate.mean.value, rate.n, rate.empty) == (0.0, 2, 1)
    assert np.isnan(error_rate([""], ["x"]).corpus.value)


def test_the_interval_holds_the_value() -> None:
    rate = error_rate(REFERENCES * 10, HYPOTHESES * 10)
    assert rate.corpus.value == pytest.approx(2 / 5)
    assert rate.corpus.low < rate.corpus.value < rate.corpus.high


def test_other_numbers_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        corpus_wer(["a"], ["a", "b"])


def test_whispers_normalisers() -> None:
    assert normalize_basic("Héllo, [noise] WORLD!") == "héllo world"
    assert normalize_english("It's twenty one colours, isn't it?") == "it is 21 colors is not it"
