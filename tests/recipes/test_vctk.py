"""VCTK: both releases through Lhotse's recipe, what that leaves out, and what it stops at."""

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.vctk import prepare_vctk
from tests.recipes.layouts import lay_vctk, lay_vctk_080


@pytest.fixture
def corpus(tmp_path):
    lay_vctk(tmp_path / "corpus")
    return tmp_path / "corpus"


def _supervisions(corpus, tmp_path, **keywords):
    return {s.id: s for s in prepare_vctk(corpus, tmp_path / "out", **keywords)["all"]["supervisions"]}


def test_accents_and_regions_are_words(corpus, tmp_path):
    known = {s.speaker: (s.gender, s.custom) for s in _supervisions(corpus, tmp_path).values()}
    domain = {"domain": "speech"}
    assert known == {
        "p225": ("female", {**domain, "accent": "English", "age": 23, "region": "Southern England"}),
        "p326": ("male", {**domain, "accent": "Australian", "age": 26, "region": "Sydney"}),
        "p335": ("female", {**domain, "accent": "New Zealand", "age": 25}),
    }


def test_the_first_microphone_has_a_speaker_more(corpus, tmp_path):
    clips = _supervisions(corpus, tmp_path, mic="mic1")
    assert list(clips) == [f"{speaker}_001_mic1" for speaker in ("p225", "p280", "p326", "p335")]
    assert clips["p280_001_mic1"].custom == {"domain": "speech", "age": 25, "region": "France"}
    with pytest.raises(ConfigError, match="mic='mic3' must be one of mic1, mic2"):
        prepare_vctk(corpus, tmp_path / "out", mic="mic3")


def test_what_the_corpus_lacks_is_told_by_speaker(corpus, tmp_path, caplog):
    _supervisions(corpus, tmp_path, mic="mic1")
    assert "1 sentences of p362 are left out" in caplog.text
    assert "recordings without a sentence are left out: p315 (1)" in caplog.text


def test_release_080_is_recognised(tmp_path):
    lay_vctk_080(tmp_path / "corpus")
    clips = _supervisions(tmp_path / "corpus", tmp_path)
    assert {s.id: s.custom.get("accent") for s in clips.values()} == {
        "p225_001": "English",
        "p238_001": "Northern Irish",
        "p248_001": "Indian",
    }
    assert "region" not in clips["p248_001"].custom


def test_a_speaker_of_whom_nothing_is_said_is_told(corpus, tmp_path, caplog):
    info = corpus / "speaker-info.txt"
    info.write_text("".join(line for line in info.open() if not line.startswith("p326")))
    clip = _supervisions(corpus, tmp_path)["p326_001_mic2"]
    assert clip.gender is None and clip.custom == {"domain": "speech"}
    assert "speaker-info.txt says nothing of the speakers p326" in caplog.text


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("p226  M  English", "speaker-info.txt:8"), ("\np226  22  M  English", "speaker-info.txt:8")],
)
def test_a_bad_line_about_a_speaker_is_named(corpus, tmp_path, line, complaint):
    info = corpus / "speaker-info.txt"
    info.write_text(info.read_text() + line + "\n")
    with pytest.raises(ConfigError, match=complaint):
        prepare_vctk(corpus, tmp_path / "out")
    info.write_text("speakers\n")
    with pytest.raises(ConfigError, match=r"speaker-info.txt:1: no column ID"):
        prepare_vctk(corpus, tmp_path / "out")
    info.unlink()
    with pytest.raises(ConfigError, match=r"speaker-info.txt: no such file"):
        prepare_vctk(corpus, tmp_path / "out")


def test_missing_and_broken_audio_is_named_all_at_once(corpus, tmp_path):
    audio = corpus / "wav48_silence_trimmed"
    (audio / "p225" / "p225_001_mic2.flac").write_bytes(b"fLaC")
    (audio / "p326" / "p326_001_mic2.flac").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"2 files are broken, first .*p225_001_mic2.flac.*p326_001_mic2.flac"):
        prepare_vctk(corpus, tmp_path / "out")
    (audio / "p225" / "p225_001_mic2.flac").unlink()
    with pytest.raises(ConfigError, match=r"1 of 5 sentences have no audio, first .*p225_001.txt"):
        prepare_vctk(corpus, tmp_path / "out")


def test_a_sentence_that_is_no_text_is_named(corpus, tmp_path):
    (corpus / "txt" / "p225" / "p225_001.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match=r"1 files are broken, first .*p225_001.txt \(not UTF-8\)"):
        prepare_vctk(corpus, tmp_path / "out")


def test_a_corpus_without_any_sentence_is_refused(corpus, tmp_path):
    for path in corpus.glob("txt/*/*.txt"):
        path.unlink()
    with pytest.raises(ConfigError, match="no sentence"):
        prepare_vctk(corpus, tmp_path / "out")
