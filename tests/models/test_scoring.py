"""Scores: one at a time, in batches, and of several choices behind one context, all the same numbers."""

import pytest
import torch

from nemo_desta.errors import RecordError
from nemo_desta.models.scoring import batches_by_kind, batches_by_length
from tests import tiny


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i in range(3):
        tiny.write_clip(folder / f"{i}.wav", 0.4 + i, seed=i)
    return str(folder)


RECORDS = [
    tiny.record("0", "What?", "A bell rings twice.", ("0.wav", "ding")),
    tiny.record(
        "1",
        "Which of the two is longer, the first or the second one?",
        "No.",
        ("1.wav", " "),
        ("0.wav", "ding"),
        system="Be brief.",
    ),
    tiny.record("2", "Hello.", "Hi."),
    tiny.record(
        "3", "", "A very long answer that goes on and on and does not stop for a while.", ("2.wav", "one two three")
    ),
]


def test_padding_never_changes_a_score(root):
    model = tiny.shared()
    alone = [model.score([r], root)[0] for r in RECORDS]
    for size in (3, 8):
        for ours, expected in zip(model.score(RECORDS, root, batch_size=size), alone, strict=True):
            torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)


def test_a_score_has_one_entry_per_target_token_and_is_a_log_probability(root):
    model = tiny.shared()
    for record, score in zip(RECORDS, model.score(RECORDS, root), strict=True):
        assert score.shape == (len(model.renderer.encode_text(record["response"])) + 1,)
        assert score.dtype == torch.float32
        assert (score < 0).all()


def test_scores_equal_a_plain_forward_pass(root):
    """Against logits of the whole sequence, without any of our cutting."""
    model = tiny.shared()
    record = RECORDS[2]
    rendered = model.renderer.render(record["messages"], record["response"])
    ids = torch.tensor([rendered.input_ids])
    with torch.no_grad():
        logits = model.llm(ids).logits.log_softmax(-1)
    count = sum(rendered.target_mask)
    expected = logits[0, -count - 1 : -1].gather(1, ids[0, -count:, None])[:, 0]
    torch.testing.assert_close(model.score([record])[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_choices_score_as_records_do(root, batch_size):
    model = tiny.shared()
    conversations = [r["messages"] for r in RECORDS]
    choices = [["male", "a female voice"], ["yes", "no", "I do not know it at all"], ["x"], ["", "b"]]
    ours = model.score_choices(conversations, choices, root, batch_size=batch_size)
    for conversation, group, scores in zip(conversations, choices, ours, strict=True):
        expected = [model.score([{"id": "0", "messages": conversation, "response": c}], root)[0].sum() for c in group]
        torch.testing.assert_close(scores, torch.stack(expected), atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("choices", [[["a"]], [["a"], []]])
def test_every_conversation_needs_choices(choices):
    with pytest.raises(RecordError, match="give each a non-empty list"):
        tiny.shared().score_choices([RECORDS[2]["messages"]] * 2, choices)


def test_a_record_is_heard_through_its_audio(root):
    """Features of zero change the score; without audio places there is nothing to change."""
    model = tiny.build()
    plain = model.score(RECORDS, root)
    model.zero_audio = True
    changed = [(a - b).abs().max() > 1e-4 for a, b in zip(model.score(RECORDS, root), plain, strict=True)]
    assert changed == [True, True, False, True]


def test_one_encoder_pass_per_distinct_clip(root):
    model = tiny.build()
    seen = []
    model.perception.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    model.score([RECORDS[0], RECORDS[1], {**RECORDS[0], "response": "x"}], root)
    assert seen == [2]


def test_batches_are_of_like_length_and_hold_each_row_once():
    assert batches_by_length([3, 9, 5, 1], 2) == [[1, 2], [0, 3]]
    assert batches_by_kind([True, False, True, True], [1, 9, 5, 3], 2) == [[2, 3], [0], [1]]
    assert batches_by_length([], 4) == []
