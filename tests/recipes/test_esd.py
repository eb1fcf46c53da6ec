"""ESD: encodings of its transcripts, both archives, and lines that are not as they should be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.esd import decode_transcript, prepare_esd
from tests.recipes.layouts import ESD_SENTENCES, lay_esd, tone

_HANZI = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=12)
_GB2312 = _HANZI.filter(lambda text: text.encode("gb2312", "ignore").decode("gb2312") == text)


@pytest.fixture
def corpus(tmp_path):
    lay_esd(tmp_path / "corpus")
    return tmp_path / "corpus"


def _by_part(corpus, tmp_path, **keywords):
    manifests = prepare_esd(corpus, tmp_path / "out", **keywords)
    return {part: [s.id for s in sets["supervisions"]] for part, sets in manifests.items()}


def _rewrite(corpus, speaker, change):
    path = corpus / speaker / f"{speaker}.txt"
    path.write_bytes(change(path.read_bytes()))


def test_sentences_of_every_encoding_are_read(corpus, tmp_path):
    manifests = prepare_esd(corpus, tmp_path / "out")
    texts = {(s.speaker, s.text) for sets in manifests.values() for s in sets["supervisions"]}
    assert texts == set(ESD_SENTENCES.items())


def test_speakers_have_the_gender_and_language_of_the_readme(tmp_path):
    readme = "FFFMMMFMFM MMMMFFFFFM"  # 0001 to 0010 Chinese, 0011 to 0020 English
    for number in range(1, 21):
        name = f"{number:04d}_000001"
        tone(tmp_path / "corpus" / name[:4] / "Neutral" / f"{name}.wav")
        (tmp_path / "corpus" / name[:4] / f"{name[:4]}.txt").write_text(f"{name}\tYes.\tNeutral\n")
    speakers = prepare_esd(tmp_path / "corpus", tmp_path / "out")["evaluation"]["supervisions"]
    assert "".join(s.gender[0].upper() for s in speakers) == readme.replace(" ", "")
    assert [s.language for s in speakers] == ["Chinese"] * 10 + ["English"] * 10


def test_the_flat_archive_is_parted_as_the_first_one_was(corpus, tmp_path):
    lay_esd(tmp_path / "first", parts=True)
    flat, parted = _by_part(corpus, tmp_path), _by_part(tmp_path / "first", tmp_path)
    assert flat == parted and list(flat) == ["train", "evaluation", "test"]
    assert [name for name in flat["train"] if name.startswith("0001")] == ["0001_000051", "0001_001750"]
    assert [name for name in flat["test"] if name.startswith("0001")] == ["0001_000021", "0001_000371"]


def test_the_folder_decides_where_the_archive_has_parts(tmp_path):
    lay_esd(tmp_path / "first", parts=True)
    happy = tmp_path / "first" / "0020" / "Happy"
    (happy / "test").mkdir()
    (happy / "evaluation" / "0020_000701.wav").rename(happy / "test" / "0020_000701.wav")
    assert "0020_000701" in _by_part(tmp_path / "first", tmp_path)["test"]


def test_lines_with_blanks_for_tabs_or_without_emotion_are_read(corpus, tmp_path):
    lines = [
        "\ufeff0020_000001 He ate. Neutral", "0020_000021\tShe was not so Sad.Neutral", "0020_000051 \tWe are happy",
        "0020_000351\tHe  ate.\tAngry ", "0020_000371 He ate.\tAngry", "", "0020_000701\tAll.\tHappy",
        "0020_001051\tAll.\tSad", "0020_001750\tAll.\tSurprise",
    ]  # fmt: skip
    _rewrite(corpus, "0020", lambda _: "\n".join(lines).encode())
    manifests = prepare_esd(corpus, tmp_path / "out")
    texts = {s.id: s.text for sets in manifests.values() for s in sets["supervisions"] if s.speaker == "0020"}
    assert [texts[f"0020_{number:06d}"] for number in (1, 21, 51, 351, 371)] == [
        "He ate.", "She was not so Sad.", "We are happy", "He ate.", "He ate.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda raw: raw.replace(b"0020_000701\tHe ate.\tHappy\r\n", b""), "0020_000701.wav: no sentence in 0020.txt"),
        (lambda raw: raw.replace(b"0020_000701\t", b"\x20_701\t"), "0020.txt:6: '_701"),
        (lambda raw: raw.replace(b"Happy", b"Sad"), "0020_000701.wav: in the folder Happy, but 0020.txt says Sad"),
        (lambda raw: raw + b"0020_000702\tHe ate.\tHappy\n", "0020_000702.wav: no such file"),
    ],
)
def test_a_clip_without_its_counterpart_is_counted(corpus, tmp_path, change, complaint):
    _rewrite(corpus, "0020", change)
    with pytest.raises(ConfigError) as refused:
        prepare_esd(corpus, tmp_path / "out")
    assert complaint in str(refused.value)
    assert sum(map(len, _by_part(corpus, tmp_path, max_bad=0.1).values())) in (31, 32)


def test_transcripts_that_are_missing_or_in_no_encoding_are_named(corpus, tmp_path):
    _rewrite(corpus, "0001", lambda raw: b"0001_000001\t\xff\xff\xff\n")
    with pytest.raises(ConfigError, match=r"0001.txt: in none of the encodings"):
        prepare_esd(corpus, tmp_path / "out")
    (corpus / "0001" / "0001.txt").unlink()
    with pytest.raises(ConfigError, match=r"0001.txt: no such file"):
        prepare_esd(corpus, tmp_path / "out")


def test_a_few_speakers_suffice_and_it_is_said(corpus, tmp_path, caplog):
    _by_part(corpus, tmp_path)
    assert "4 of its 20 speakers" in caplog.text


@given(_GB2312, st.sampled_from(["gbk", "gb2312", "gb18030", "utf-16", "utf-8", "utf-8-sig"]))
def test_any_chinese_sentence_is_decoded(sentence, encoding):
    text = f"0001_000001\t{sentence}\t中立\n"
    assert decode_transcript(text.encode(encoding), True, "x") == text


@given(st.text(st.sampled_from("abc xyz.'’“”éñ£"), max_size=20), st.sampled_from(["utf-16", "utf-8"]))
def test_any_english_sentence_is_decoded(sentence, encoding):
    text = f"0011_000001\t{sentence}\tNeutral\n"
    assert decode_transcript(text.encode(encoding), False, "x") == text


def test_gbk_punctuation_in_an_english_file_is_not_taken_for_windows_1252():
    text = "0016_000001\tTom’s “full”.\tNeutral\n"
    assert decode_transcript(text.encode("gbk"), False, "x") == text
    text = "0016_000001\tTom’s here.\tNeutral\n"
    assert "抯" in text.encode("cp1252").decode("gbk"), "an ideograph, if it were taken for GBK"
    assert decode_transcript(text.encode("cp1252"), False, "x") == text
