import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.selfgen.words import seed_attributes, seed_pairs, seed_words, words


@pytest.mark.parametrize(
    ("description", "attributes", "spoken"),
    [
        ("[00:00-00:02] Take it. (Emotion:Neutral, Gender: Female, Duration: 2s)", {"Emotion": "Neutral", "Gender": "Female", "Duration": "2s"}, "Take it."),
        ("[00:00-00:03] (Heard: Dog barking)", {"Heard": "Dog barking"}, ""),
        ("[00:00-00:05] Hi (laughs) there (Reverberation (C50): 20 dB, Age: 31 - 45)", {"Reverberation (C50)": "20 dB", "Age": "31 - 45"}, "Hi (laughs) there"),
        ("[00:00-00:05] Well (so: what) (Age: 3)", {"Age": "3"}, "Well (so: what)"),
        ("[00:00-00:04] Trois cygnes (Emotion: Anger, English Translation: Three swans, by the lake)", {"Emotion": "Anger", "English Translation": "Three swans, by the lake"}, "Trois cygnes"),
        ("[00:00-00:02] Hello\n[00:02-00:04] Hi (Gender: Male)\n[00:04-00:05] Bye (Gender: Female)", {"Gender": "Male; Female"}, "Hello Hi Bye"),
        ("[1:00:00-1:00:02] 看重成长 (Dialect: Mandarin)", {"Dialect": "Mandarin"}, "看重成长"),
        ("just words (and a bracket)", {}, "just words (and a bracket)"),
        ("", {}, ""),
    ],
)  # fmt: skip
def test_seed_descriptions_are_read_back(description, attributes, spoken):
    assert seed_attributes(description) == attributes
    assert seed_words(description) == spoken


@given(st.text(max_size=200))
def test_any_text_is_read(text):
    seed_attributes(text)
    seed_words(text)
    assert all(w and not w.isspace() for w in words(text))


def test_scripts_without_spaces_have_characters_for_words():
    assert words("Hello, 世界!") == ["hello", "世", "界"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[00:00-00:02] Take it. (Emotion: Neutral, Gender: Female)", {("Emotion", "Neutral"), ("Gender", "Female")}),
        ("[00:00-00:10] (Plastic crinkling... people talk)", set()),
        ("a (Noise Level: Moderate(SNR: 15db), Duration: 4s)", {("Noise Level", "Moderate(SNR: 15db)"), ("Duration", "4s")}),
        ("a (Ethnicity: Black, African, Other, Age: 3)\nb (Age: 4)", {("Ethnicity", "Black, African, Other"), ("Age", "3"), ("Age", "4")}),
        ("no (brackets: here) at the end", set()),
        ("((((", set()),
    ],
)  # fmt: skip
def test_pairs_of_seed_descriptions(text, found):
    assert set(seed_pairs(text)) == found


@given(st.text(alphabet="():, a\n", max_size=60))
def test_pairs_of_any_text(text):
    for name, value in seed_pairs(text):
        assert name.strip() and value.strip()
