import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.attributes.config import AttributesConfig, WordRule, default_words
from nemo_desta.attributes.words import Learner, Thresholds, quantile, word_of
from nemo_desta.errors import ConfigError

WORDS = ["very low", "low", "normal", "high", "very high"]
PITCH = {"pitch": WordRule(["pitch_hz"], quantiles=[0.1, 0.3, 0.7, 0.9], per=["gender"])}
numbers = st.lists(st.integers(-500, 500).map(lambda n: n / 10), min_size=2, max_size=60)


def learnt(values, min_values=2, rules=PITCH):
    """From (pitch, gender or None)."""
    learner = Learner(rules)
    for hz, gender in values:
        learner.add({"pitch_hz": hz}, {"pitch": (("gender", gender),) if gender else ()})
    return learner.thresholds(min_values)


@given(numbers, st.floats(0, 1))
def test_quantiles_of_counts_are_numpys(values, share):
    assert quantile(Counter(values), share) == pytest.approx(float(np.quantile(values, share)), abs=1e-9)


def test_a_tenth_a_fifth_two_fifths_a_fifth_a_tenth():
    thresholds = learnt([(float(hz), None) for hz in range(100, 200)])
    words = [thresholds.word("pitch", {"pitch_hz": float(hz)}, ()) for hz in range(100, 200)]
    assert words == [WORDS[0]] * 10 + [WORDS[1]] * 20 + [WORDS[2]] * 40 + [WORDS[3]] * 20 + [WORDS[4]] * 10


@given(numbers, st.randoms(use_true_random=False))
def test_thresholds_do_not_depend_on_the_order(values, random):
    shuffled = random.sample(values, len(values))
    assert learnt([(v, None) for v in values]).to_dict() == learnt([(v, None) for v in shuffled]).to_dict()


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=4).map(sorted), st.integers(-12, 12), st.integers(0, 12))
def test_a_larger_number_never_gets_a_lower_word(edges, value, more):
    assert WORDS.index(word_of(value, edges, WORDS)) <= WORDS.index(word_of(value + more, edges, WORDS))


def test_a_value_that_most_clips_share_is_in_the_middle_of_its_limits():
    assert word_of(0.0, [0.0, 0.0, 0.0, 0.3], WORDS) == "low"
    assert word_of(5.0, [5.0, 5.0, 5.0, 5.0], WORDS) == "normal"


def test_a_high_male_voice_is_high_though_below_a_low_female_one():
    thresholds = learnt([(90.0 + i, "Male") for i in range(50)] + [(180.0 + i, "Female") for i in range(50)])
    say = lambda hz, group: thresholds.word("pitch", {"pitch_hz": hz}, group)  # noqa: E731
    assert say(130.0, (("gender", "Male"),)) == "high"
    assert say(188.0, (("gender", "Female"),)) == "low"
    assert say(188.0, ()) == "normal", "unknown gender: compared with all clips"


def test_too_few_or_equal_values_give_no_words_and_are_told():
    thresholds = learnt([(100.0 + i, "Male") for i in range(10)] + [(200.0, "Female")] * 20, min_values=15)
    assert thresholds.word("pitch", {"pitch_hz": 105.0}, (("gender", "Male"),)) is None
    assert thresholds.word("pitch", {"pitch_hz": 200.0}, (("gender", "Female"),)) is None
    assert thresholds.word("pitch", {"pitch_hz": 105.0}, ()) is not None
    male, female = sorted(thresholds.gaps(), key=lambda gap: "Female" in gap)
    assert "gender Male" in male and "10 values of pitch_hz" in male
    assert "gender Female" in female


def test_the_first_measure_that_a_clip_has_counts_and_each_has_its_own_limits():
    rules = {"speed": WordRule(["letters_per_second", "characters_per_second"], ["slow", "fast"], [0.5])}
    learner = Learner(rules)
    for i in range(10):
        learner.add({"letters_per_second": 10.0 + i}, {"speed": ()})
        learner.add({"characters_per_second": 1.0 + i}, {"speed": ()})
    thresholds = learner.thresholds(5)
    assert thresholds.word("speed", {"characters_per_second": 9.0}, ()) == "fast"
    assert thresholds.word("speed", {"letters_per_second": 12.0, "characters_per_second": 9.0}, ()) == "slow"


def test_fixed_limits_need_no_corpus():
    assert learnt([], rules=default_words()).word("noise", {"snr_db_estimate": 10.0}, ()) == "noisy"


def test_stored_thresholds_give_the_same_words(tmp_path):
    thresholds = learnt([(90.0 + i, "Male") for i in range(50)] + [(180.0 + i, None) for i in range(50)])
    (tmp_path / "t.json").write_text(json.dumps(thresholds.to_dict()))
    again = Thresholds.from_file(tmp_path / "t.json", PITCH)
    assert again.to_dict() == thresholds.to_dict()
    for group in ((), (("gender", "Male"),), (("gender", "Female"),)):
        for hz in (91.0, 120.0, 200.0):
            assert again.word("pitch", {"pitch_hz": hz}, group) == thresholds.word("pitch", {"pitch_hz": hz}, group)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: "{", "not readable"),
        (lambda d: "[]", "other rules"),
        (lambda d: d["pitch"].update(quantiles=[0.2, 0.3, 0.7, 0.9]), "other rules"),
        (lambda d: d["pitch"].update(per=[]), "other rules"),
        (lambda d: d["pitch"]["groups"][0].pop("edges"), "damaged"),
        (lambda d: d["pitch"]["groups"][0].update(edges=[1, 2]), "no limits"),
        (lambda d: d["pitch"]["groups"][0].update(edges=[4, 3, 2, 1]), "no limits"),
        (lambda d: d["pitch"]["groups"][0].update(edges="abcd"), "damaged"),
    ],
)
def test_a_damaged_or_foreign_file_of_thresholds_is_refused(tmp_path, change, message):
    stored = learnt([(90.0 + i, "Male") for i in range(50)]).to_dict()
    text = change(stored)
    (tmp_path / "t.json").write_text(text if isinstance(text, str) else json.dumps(stored))
    with pytest.raises(ConfigError, match=message):
        Thresholds.from_file(tmp_path / "t.json", PITCH)


def test_every_mistake_in_the_rules_is_named_at_once():
    rules = {
        "a": WordRule(["pitch_herz"], quantiles=[0.1, 0.3, 0.7, 0.9]),
        "b": WordRule(["pitch_hz"], quantiles=[0.5]),
        "c": WordRule(["pitch_hz"], quantiles=[0.3, 0.1, 0.7, 1.9]),
        "d": WordRule(["pitch_hz"]),
        "e": WordRule(["pitch_hz"], ["x", "x"], edges=[1.0]),
        "f": WordRule(["pitch_hz"], edges=[1.0, 2.0, 3.0, 4.0], per=["gender"]),
    }
    with pytest.raises(ConfigError) as error:
        replace(AttributesConfig("c", "o"), words=rules, num_jobs=0).checked()
    told = str(error.value)
    assert all(f"words.{name}" in told for name in rules) and "num_jobs" in told and "did you mean 'pitch_hz'" in told
