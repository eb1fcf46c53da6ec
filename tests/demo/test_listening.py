"""The demo's question set: SAKURA's layout, balanced, with right answers."""

from collections import Counter

import pytest

from nemo_desta.demo.listening import write_listening_set
from nemo_desta.evaluation.benchmarks.sakura import BENCHMARK
from nemo_desta.evaluation.benchmarks.sakura.scoring import chosen, options
from nemo_desta.evaluation.clips import EvalClip
from tests import tiny

LANGUAGES = ("English", "French", "Spanish", "German", "Italian")


@pytest.fixture
def data(tmp_path):
    clips = []
    for number in range(20):
        name = tiny.write_clip(tmp_path / "corpus" / f"{number}.wav", 0.5, seed=number)
        attributes = {"domain": "speech", "gender": ("male", "female")[number % 2], "language": LANGUAGES[number % 5]}
        clips.append(EvalClip(str(number), name, "words", "", attributes))
    write_listening_set(tmp_path / "set", clips, tmp_path / "corpus", 8)
    return BENCHMARK.load(tmp_path / "set", tmp_path)


def test_the_set_is_read_as_sakura_is(data):
    assert Counter(i.subset for i in data.items) == {"Animal": 16, "Gender": 16, "Language": 10}
    assert all((data.root / i.audios[0]).is_file() for i in data.items)


def test_what_is_right_is_an_option_of_its_question_and_balanced(data):
    for item in data.items:
        assert len(chosen(item.fields["label"], options(item.instruction))) == 1
    labels = Counter(i.fields["attribute_label"] for i in data.items if i.kind == "single")
    assert labels["dog"] == labels["bird"] == labels["male"] == labels["female"] == 4
    assert all(labels[name] == 1 for name in LANGUAGES)


def test_the_place_of_the_right_option_says_nothing(data):
    letters = Counter((i.subset, i.fields["label"][:3]) for i in data.items if i.kind == "single")
    assert letters["Gender", "(a)"] == letters["Gender", "(b)"] == 4
    assert {k[1] for k in letters if k[0] == "Animal"} == {"(a)", "(b)", "(c)", "(d)"}
