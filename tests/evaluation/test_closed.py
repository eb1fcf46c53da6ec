"""Asking closed questions: packed rows, priors, planted and absent signals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nemo_desta.evaluation import closed
from nemo_desta.evaluation.clips import SOURCES, EvalClip, conversation
from nemo_desta.evaluation.closed import QuestionScores, ask, summarise
from nemo_desta.evaluation.questions import Choice, ClosedQuestion
from nemo_desta.models.comparing import score_groups
from nemo_desta.models.desta import DeSTAModel

PARITY = Path(__file__).parents[1] / "data" / "parity"
WAVS = ("a0.wav", "b0.wav", "b1.wav", "c0.wav")


def _question(name: str, labels: tuple[str, ...], question: str) -> ClosedQuestion:
    return ClosedQuestion(name, name, question, tuple(Choice(x, f"It is {x}.", frozenset([x])) for x in labels))


GENDER = _question("gender", ("female", "male"), "Who speaks here?")
DOMAIN = _question("domain", ("speech", "sound", "music"), "What is this?")
CLIPS = [
    EvalClip(
        f"c{i}",
        wav,
        " " if i == 3 else "hello there " * i,
        f"[00:00-00:05] <|AUDIO|> {wav}",
        {"domain": "speech", "gender": "male"},
    )
    for i, wav in enumerate(WAVS)
]


@pytest.fixture(scope="module")
def model() -> DeSTAModel:
    return DeSTAModel.from_pretrained(PARITY)


@pytest.mark.parametrize("source", SOURCES)
def test_packed_questions_score_as_each_question_alone(model, source):
    groups = [
        [(conversation(c, q.question, "Listen.", source), tuple(x.answer for x in q.choices)) for q in (GENDER, DOMAIN)]
        for c in CLIPS
    ]
    packed = score_groups(model, groups, str(PARITY), batch_size=3)
    for group, found in zip(groups, packed, strict=True):
        alone = model.score_choices([m for m, _ in group], [list(c) for _, c in group], str(PARITY), batch_size=1)
        for a, b in zip(found, alone, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_identical_questions_in_a_group_are_allowed(model):
    question = (conversation(CLIPS[0], "Who?", "", "transcript"), ("A.", "B."))
    first, second = score_groups(model, [[question, question]])[0]
    torch.testing.assert_close(first, second)


def test_a_group_of_different_clips_is_refused(model):
    group = [(conversation(c, "Who?", ""), ("A.", "B.")) for c in CLIPS[:2]]
    with pytest.raises(ValueError, match="same clips"):
        score_groups(model, [group], str(PARITY))


def test_a_locator_in_a_seed_description_is_text(model):
    rendered = model.renderer.render(conversation(CLIPS[0], "Who?", "", "seed"))
    assert rendered.audio_positions == []
    assert model.renderer._locator_id not in rendered.input_ids


def test_ask_labels_only_clips_that_fit(model):
    clips = [*CLIPS[:2], EvalClip("z", "c0.wav", " ", "[00:00-00:01]", {"domain": "music"})]
    found = ask(model, clips, [GENDER, DOMAIN], "Listen.", "seed")
    assert found["gender"].clip_ids == ("c0", "c1") and found["gender"].labels.tolist() == [1, 1]
    assert found["domain"].labels.tolist() == [0, 0, 2] and found["domain"].scores.shape == (3, 3)


def test_equal_texts_are_scored_once(model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        closed, "score_groups", lambda m, groups, *_: [seen.append(g) or [torch.zeros(2)] for g in groups]
    )
    silent = [EvalClip(str(i), WAVS[i], " ", "", {"gender": "male"}) for i in range(4)]
    found = ask(model, silent, [GENDER], "", "transcript")
    assert len(seen) == 1 and found["gender"].scores.shape == (4, 2)


def test_prior_is_taken_off_and_looks_at_no_label():
    habit = np.array([5.0, 0.0])
    signal = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    asked = QuestionScores(("a", "b", "c", "d"), np.array([0, 1, 0, 1]), signal + habit)
    assert summarise(asked).accuracy.value == 0.5  # the habit hides the signal
    for labels in (np.array([0, 1, 0, 1]), np.array([1, 1, 1, 1])):
        fair = asked.without_prior(QuestionScores(asked.clip_ids, labels, signal + habit))
        assert summarise(fair).accuracy.value == 1.0


def test_planted_signal_and_noise():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 40)
    noise = rng.normal(size=(120, 3))
    ids = tuple(map(str, range(120)))
    planted = summarise(QuestionScores(ids, labels, noise + 20 * np.eye(3)[labels]))
    random = summarise(QuestionScores(ids, labels, noise))
    assert planted.auc.value == 1.0 and planted.accuracy.value == 1.0
    assert 0.95 < planted.accuracy.low < 1.0  # Wilson's: 120 of 120 is no certainty
    assert random.auc.low < 0.5 < random.auc.high
    assert random.accuracy.low < 1 / 3 < random.accuracy.high
    assert planted.class_counts == planted.predicted == (40, 40, 40)


def test_a_question_without_clips_has_null_results():
    result = summarise(QuestionScores((), np.zeros(0, np.int64), np.zeros((0, 2)))).to_dict()
    assert result["num_clips"] == 0 and result["auc"]["value"] is None


def test_paired_difference_of_auc():
    rng = np.random.default_rng(1)
    labels = np.tile([0, 1], 40)
    ids = tuple(map(str, range(80)))
    noise = QuestionScores(ids, labels, rng.normal(size=(80, 2)))
    planted = QuestionScores(ids, labels, 9 * np.eye(2)[labels])
    assert closed.auc_difference(planted, noise).low > 0.2
    same = closed.auc_difference(noise, noise)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="same clips"):
        closed.auc_difference(planted, QuestionScores(ids[::-1], labels, noise.scores))
