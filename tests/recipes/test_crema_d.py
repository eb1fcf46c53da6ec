"""CREMA-D: codes in file names, actors, votes, audio that Git LFS has not fetched."""

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.crema_d import prepare_crema_d
from tests.recipes.layouts import lay_crema_d, tone


@pytest.fixture
def corpus(tmp_path):
    lay_crema_d(tmp_path / "corpus")
    return tmp_path / "corpus"


def _supervisions(corpus, tmp_path, **keywords):
    return {s.id: s for s in prepare_crema_d(corpus, tmp_path / "out", **keywords)["all"]["supervisions"]}


def test_codes_become_words_and_unspecified_says_nothing(corpus, tmp_path):
    clips = _supervisions(corpus, tmp_path)
    loud = clips["1001_IEO_ANG_HI"]
    assert (loud.text, loud.speaker, loud.gender, loud.language) == ("It's eleven o'clock", "1001", "male", "English")
    assert loud.custom["emotion"] == "anger" and loud.custom["intensity"] == "high"
    assert "intensity" not in clips["1040_ITH_SAD_X"].custom and "intensity" not in clips["1047_TSI_HAP_XX"].custom
    assert "race" not in clips["1047_TSI_HAP_XX"].custom, "the corpus says Unknown"


def test_votes_of_the_listeners_are_kept_apart_from_what_was_acted(corpus, tmp_path):
    heard = {name: s.custom.get("emotion_heard") for name, s in _supervisions(corpus, tmp_path).items()}
    assert heard == {
        "1001_IEO_ANG_HI": ["anger"],
        "1001_DFA_NEU_XX": ["anger", "neutral"],
        "1040_ITH_SAD_X": ["neutral"],
        "1047_TSI_HAP_XX": None,
    }
    (corpus / "processedResults" / "summaryTable.csv").unlink()
    assert all("emotion_heard" not in s.custom for s in _supervisions(corpus, tmp_path).values())


def test_the_clip_that_the_authors_call_silent_is_left_out_and_not_held_against_the_corpus(corpus, tmp_path, caplog):
    assert "1076_MTI_SAD_XX" not in _supervisions(corpus, tmp_path)
    assert "4 clips kept, 0 left out, and 1 known to be broken" in caplog.text


def test_pointers_of_git_lfs_are_recognised(corpus, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n"
    for path in (corpus / "AudioWAV").iterdir():
        path.write_text(pointer)
    with pytest.raises(ConfigError, match=r"no usable clip(.|\n)*a Git LFS pointer, not audio; run `git lfs pull`"):
        prepare_crema_d(corpus, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("1001_XYZ_ANG_XX", "not named"),
        ("1001_IEO_JOY_XX", "not named"),
        ("notes", "not named"),
        ("1002_IEO_ANG_XX", "actor 1002 is not in VideoDemographics.csv"),
    ],
)
def test_clips_that_cannot_be_described_are_counted(corpus, tmp_path, caplog, name, complaint):
    tone(corpus / "AudioWAV" / f"{name}.wav")
    with pytest.raises(ConfigError, match=f"{name}.wav: {complaint}"):
        prepare_crema_d(corpus, tmp_path / "out")
    assert len(_supervisions(corpus, tmp_path, max_bad=0.5)) == 4


def test_an_actor_without_age_is_named_by_file_and_line(corpus, tmp_path):
    table = corpus / "VideoDemographics.csv"
    table.write_text(table.read_text().replace('1040,42,"Male"', '1040,,"Male"'))
    with pytest.raises(ConfigError, match=r"VideoDemographics.csv:3: age '' or sex 'Male'"):
        prepare_crema_d(corpus, tmp_path / "out")
    table.unlink()
    with pytest.raises(ConfigError, match=r"VideoDemographics.csv: no such file"):
        prepare_crema_d(corpus, tmp_path / "out")
