"""Closed questions: the file that travels with the package, and what is refused."""

import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.questions import read_questions
from nemo_desta.paths import conf_dir

GOOD = """
questions:
  - name: speed
    attribute: speaking_speed
    question: Fast or slow?
    where: {domain: [speech]}
    choices: [{label: fast, answer: Fast.}, {label: slow, values: [slow, slowly], answer: Slow.}]
"""


def test_shipped_questions_cover_the_five_attributes():
    questions = read_questions(conf_dir() / "closed_questions.yaml")
    assert [q.attribute for q in questions] == ["gender", "domain", "noise", "speaking_speed", "language"]
    assert [q.name for q in questions if q.text_can_tell] == ["domain", "language"]


def test_label_needs_both_condition_and_value(tmp_path):
    (tmp_path / "q.yaml").write_text(GOOD)
    (question,) = read_questions(tmp_path / "q.yaml")
    assert question.label({"domain": "speech", "speaking_speed": "Slowly"}) == 1
    assert question.label({"domain": "speech", "speaking_speed": "Normal"}) is None
    assert question.label({"domain": "music", "speaking_speed": "Fast"}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("questions: []", "non-empty list"),
        ("a: [", "not readable"),
        (GOOD.replace("answer: Fast.", "answr: Fast."), "missing .'answer'.*answr"),
        (GOOD.replace(", {label: slow, values: [slow, slowly], answer: Slow.}", ""), "two choices"),
        (GOOD + GOOD.split("questions:")[1], "same name"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_named(tmp_path, text, message):
    (tmp_path / "q.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_questions(tmp_path / "q.yaml")
    assert "q.yaml" in str(caught.value)
