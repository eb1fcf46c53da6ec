import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.paths import conf_dir
from nemo_desta.selfgen.config import load_yaml
from nemo_desta.selfgen.seed import SeedFormatter, format_span
from tests.selfgen.corpus import cut, supervision

DEFAULT = conf_dir() / "seed" / "default.yaml"
FORMATTER = SeedFormatter.from_yaml(DEFAULT)


@pytest.fixture
def describe():
    return SeedFormatter.from_yaml(DEFAULT)


def test_one_supervision_gives_the_papers_form(describe):
    seed = describe(cut([supervision("Take it.", gender="F", emotion="neutral", duration=2.2)], duration=2.2))
    assert seed.text == "[00:00-00:02] Take it. (Emotion: Neutral, Gender: Female, Duration: 2.2s)"
    assert seed.attributes == {"emotion": "Neutral", "gender": "Female", "spoken": "Yes"}
    assert (seed.domain, seed.transcript) == ("speech", "Take it.")


def test_numbers_carry_units_and_lists_are_joined(describe):
    seed = describe(cut([supervision(snr_db=14.96, noise="noisy", sound_class=["water", "gurgling"])]))
    assert (
        seed.text
        == "[00:00-00:03] (Audio category: Water, Gurgling, Noise level: Noisy, Signal-to-noise ratio: 15 dB, Duration: 3s)"
    )


def test_dialogue_has_a_line_a_turn_with_speakers_and_a_line_for_the_whole(describe):
    turns = [
        supervision("Hm, no.", 3.6, 1.0, 1, speaker="Ben", gender="M"),
        supervision("Is it raining?", 0.0, 2.0, 0, speaker="Ann", gender="F"),
    ]
    seed = describe(cut(turns, duration=6, noise="clean"))
    assert seed.text.split("\n") == [
        "[00:00-00:02] Is it raining? (Speaker: Ann, Gender: Female)",
        "[00:04-00:05] Hm, no. (Speaker: Ben, Gender: Male)",
        "[00:00-00:06] (Noise level: Clean, Duration: 6s)",
    ]
    assert seed.attributes == {"noise": "Clean", "spoken": "Yes", "dialogue": "Yes"}, (
        "gender differs between turns: no attribute of the whole"
    )
    assert seed.transcript == "Is it raining? Hm, no."


def test_no_supervision_takes_the_recordings_attributes(describe):
    c = cut(audio_category="dog bark", duration=5)
    c.recording.custom = {"noise": "clean"}
    seed = describe(c)
    assert seed.text == "[00:00-00:05] (Audio category: Dog bark, Noise level: Clean, Duration: 5s)"
    assert (seed.domain, seed.transcript) == ("sound", " ")
    assert describe(cut(genre="rock")).domain == "music"


def test_hours_are_shown_when_the_cut_needs_them(describe):
    seed = describe(cut([supervision("Late.", 3600.0, 4.0)], duration=3700))
    assert seed.text.startswith("[01:00:00-01:00:04] Late.")


def test_values_that_say_nothing_are_left_out_and_unknown_fields_reported(describe):
    seed = describe(cut([supervision("Hi.", gender="unknown", emotion="", shoe_size=42, speaker="x")]))
    assert seed.text == "[00:00-00:03] Hi. (Duration: 3s)"
    assert dict(describe.unknown) == {"shoe_size": 1}


def test_line_breaks_in_data_cannot_make_a_line(describe):
    assert "\n" not in describe(cut([supervision("one\r\n[00:00-00:09] two\u2028three", caption="x\ny")])).text


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_times_that_are_not_finite_name_the_cut(describe, bad):
    broken = cut([supervision("x")], cut_id="culprit")
    broken.supervisions[0].start = bad
    with pytest.raises(SelfGenError, match="culprit"):
        describe(broken)


def test_a_value_without_words_names_cut_and_field(describe):
    with pytest.raises(SelfGenError, match=r"'c'.*'emotion'.*dict"):
        describe(cut([supervision("x", emotion={"angry": 0.3})]))


def test_every_wrong_key_of_a_mapping_is_named():
    with pytest.raises(ConfigError, match="colour.*flavour"):
        SeedFormatter({"flavour": 1, "colour": 2})
    with pytest.raises(ConfigError, match="unit_"):
        SeedFormatter({"fields": [{"field": "a", "name": "A", "unit_": "x"}]})


plain_text = (
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=60)
    .map(str.strip)
    .filter(bool)
)


@given(plain_text, plain_text)
def test_text_of_any_script_is_untouched(text, caption):
    seed = FORMATTER(cut([supervision(text, caption=caption)]))
    assert seed.text.startswith(f"[00:00-00:03] {text} (")
    assert seed.transcript == text
    if caption.casefold() not in {"unknown", "none", "n/a", "nan", "unspecified", "undefined", "-"}:
        assert f"Caption: {caption}, Duration" in seed.text


@given(st.floats(0, 3e5), st.floats(0, 3e5), st.booleans())
def test_spans_are_never_empty_and_have_two_digits(start, length, hours):
    first, last = format_span(start, start + length, hours)[1:-1].split("-")
    to_seconds = [sum(int(p) * 60**i for i, p in enumerate(reversed(x.split(":")))) for x in (first, last)]
    assert to_seconds[0] < to_seconds[1]
    assert abs(to_seconds[0] - start) <= 0.5
    assert all(len(p) >= 2 for x in (first, last) for p in x.split(":"))


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 5), plain_text), min_size=2, max_size=6))
def test_one_line_a_supervision_in_order_of_time(turns):
    supervisions = [supervision(t, s, d, i) for i, (s, d, t) in enumerate(turns)]
    seed = FORMATTER(cut(supervisions, duration=60))
    lines = seed.text.split("\n")
    assert len(lines) == len(turns)
    assert [line[:6] for line in lines] == sorted(line[:6] for line in lines)


@pytest.mark.parametrize("field", ["noise", "speaking_speed"])
def test_the_small_mapping_has_a_word_of_its_filters_for_every_word_of_attributes(field):
    def yaml(*parts):
        return load_yaml(conf_dir().joinpath(*parts))

    formatter, known = SeedFormatter.from_yaml(conf_dir() / "seed" / "smol.yaml"), yaml("filters", "smol.yaml")
    written = yaml("attributes.yaml")["words"][field]["words"]
    said = [formatter(cut([supervision("Take it.", **{field: word})])).attributes.get(field) for word in written]
    assert said[2] is None, "what lies in the middle is left out"
    assert {*said} - {None} == {*known["statements"][field]}
