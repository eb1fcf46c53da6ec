"""ESC-50: folds, licences of its subset, and what happens to rows and files that are not right."""

import logging

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.esc50 import prepare_esc50
from tests.recipes.layouts import ESC50_ROWS, lay_esc50, tone


@pytest.fixture
def corpus(tmp_path):
    lay_esc50(tmp_path / "corpus")
    return tmp_path / "corpus"


def _add_row(corpus, row):
    (corpus / "meta" / "esc50.csv").write_text(ESC50_ROWS + row + "\n", encoding="utf-8")


def test_folds_are_parts_and_categories_are_words(corpus, tmp_path):
    manifests = prepare_esc50(corpus, tmp_path / "out")
    assert list(manifests) == ["fold1", "fold2", "fold5"]
    first = {s.id: s.custom for s in manifests["fold1"]["supervisions"]}
    assert first == {
        "1-100032-A-0": {"domain": "sound", "split": "fold1", "audio_category": "dog", "license": "CC BY"},
        "1-101336-A-30": {
            "domain": "sound", "split": "fold1", "audio_category": "door wood knock", "license": "CC BY-NC 3.0",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("1-1-A-1.wav,1,1,rooster", "esc50.csv:6: 4 fields where the header has 7"),
        ("1-1-A-1.wav,six,1,rooster,False,1,A", "esc50.csv:6: fold 'six'"),
        ("../../secret.wav,1,1,rooster,False,1,A", "esc50.csv:6: '../../secret.wav' is no file name"),
        ("1-1-A-1.wav,1,1,,False,1,A", "esc50.csv:6: no category"),
        ("1-1-A-1.wav,1,1,rooster,False,1,A", "1-1-A-1.wav: no such file"),
    ],
)
def test_a_bad_row_is_named_and_fatal_above_the_threshold_only(corpus, tmp_path, caplog, row, complaint):
    _add_row(corpus, row)
    with pytest.raises(ConfigError) as refused:
        prepare_esc50(corpus, tmp_path / "out")
    assert complaint in str(refused.value) and "1 of 5 clips cannot be used" in str(refused.value)
    assert not (tmp_path / "out").exists()
    caplog.clear()
    manifests = prepare_esc50(corpus, tmp_path / "out", max_bad=0.2)
    assert sum(len(sets["recordings"]) for sets in manifests.values()) == 4
    assert complaint in caplog.text and "4 clips kept, 1 left out" in caplog.text


def test_a_header_of_another_release_is_refused(corpus, tmp_path):
    old = ESC50_ROWS.replace("filename,fold,target,category", "filename,fold,category,category_name", 1)
    (corpus / "meta" / "esc50.csv").write_text(old.replace("category,", "", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"esc50.csv:1: no column category; the header is filename,fold"):
        prepare_esc50(corpus, tmp_path / "out")


def test_audio_that_no_row_names_is_told(corpus, tmp_path, caplog):
    tone(corpus / "audio" / "3-1-A-1.wav")
    with caplog.at_level(logging.WARNING):
        prepare_esc50(corpus, tmp_path / "out")
    assert "1 audio files are not in meta/esc50.csv, among them 3-1-A-1.wav" in caplog.text
