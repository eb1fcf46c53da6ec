"""A packed row gives the losses and gradients of separate, padded rows, and holds nothing twice."""

import json
from pathlib import Path

import pytest
import torch

from nemo_desta.audio import load_audio
from nemo_desta.data.batch import collate
from nemo_desta.data.packing import pack
from nemo_desta.models.desta import DeSTAModel
from tests import tiny

PARITY = Path(__file__).parents[1] / "data" / "parity"
HELLO = "hello there how are you"
ASKED = [
    ("a0.wav", HELLO, "Describe the speaker.", "A calm voice."),
    ("b0.wav", "stop", "What is said?", "Stop."),
    ("a0.wav", HELLO, "Describe the room. Is it large?", "It is a large hall."),
    ("a0.wav", HELLO, "Who?", "A man speaks."),
    ("b0.wav", "stop", "What is said, and how?", "Stop, said aloud."),
]


@pytest.fixture(scope="module")
def model() -> DeSTAModel:
    return DeSTAModel.from_pretrained(PARITY)


def _conversation(audio: str, text: str, prompt: str, system: str | None = None) -> list[dict]:
    return tiny.heard(prompt, (audio, text), system=system)


def _batch(model: DeSTAModel, packed: bool, systems: tuple = (None,)) -> dict:
    rendered = [
        model.renderer.render(_conversation(a, t, p, systems[i % len(systems)]), r)
        for i, (a, t, p, r) in enumerate(ASKED)
    ]
    rendered.append(model.renderer.render([{"role": "user", "content": "No clip here."}], "Indeed."))
    clips = [load_audio(PARITY / "a0.wav"), load_audio(PARITY / "b0.wav")]
    index = [[0], [1], [0], [0], [1], []]
    return collate(rendered, clips, index, list("abcdef"), model.renderer.eos_id, packed)


def _step(model: DeSTAModel, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model.training_step(batch, 0)["loss"]
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _assert_same(model: DeSTAModel, one: dict, two: dict) -> None:
    (loss, gradients), (other_loss, other_gradients) = _step(model, one), _step(model, two)
    torch.testing.assert_close(loss, other_loss, rtol=0, atol=1e-5)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("systems", [(None,), ("Listen.",), ("Listen.", "Focus on the audio.", None)])
def test_packed_is_padded(model, systems):
    _assert_same(model, _batch(model, False, systems), _batch(model, True, systems))


def test_packed_is_padded_with_lora(model):
    """Then nothing is constant: the adapters act on the system prompt, too."""
    adapted = tiny.build(lora={"dropout": 0.0})
    _assert_same(adapted, _batch(adapted, False, ("Listen.",)), _batch(adapted, True, ("Listen.",)))


def test_packed_is_padded_for_an_llm_that_changes_its_logits(model, monkeypatch):
    monkeypatch.setattr(model, "_plain_head", False)
    _assert_same(model, _batch(model, False), _batch(model, True))


def test_several_clips_in_one_conversation(model):
    items = json.loads((PARITY / "items.json").read_text())
    rendered = [model.renderer.render(i["messages"], i["response"]) for i in items for _ in range(2)]
    clips = [load_audio(PARITY / name) for name in ("a0.wav", "b0.wav", "b1.wav", "c0.wav")]
    index = [[0], [0], [1, 2], [1, 2], [3], [3]]
    batches = [collate(rendered, clips, index, list("abcdef"), 0, packed) for packed in (False, True)]
    _assert_same(model, *batches)
    assert batches[1]["input_ids"].shape == (1, sum(batches[1]["segment_lengths"]))


def test_what_conversations_share_stands_once(model):
    packed, padded = _batch(model, True), _batch(model, False)
    assert packed["input_ids"].numel() < padded["attention_mask"].sum()
    assert packed["attention_mask"].all() and packed["input_ids"].shape[0] == 1
    assert packed["constant_segments"] == 1, "all open with the same words"
    assert packed["segment_parents"] == [-1, 0, 1, 1, 1, 0, 5, 5, -1]
    assert len(packed["audio_index"]) == 2 and len(packed["ids"]) == 6
    assert packed["target_mask"].sum() == padded["target_mask"].sum()


def test_each_conversation_can_be_read_off_the_tree(model):
    """Its segments from the top down are its tokens, at its positions."""
    rendered = [model.renderer.render(_conversation(a, t, p, "Listen."), r) for a, t, p, r in ASKED]
    row = pack(rendered, [[0], [1], [0], [0], [1]])
    starts = [sum(row.segment_lengths[:i]) for i in range(len(row.segment_lengths))]

    def tokens(number: int) -> list[tuple[int, int, bool]]:
        above = [] if row.segment_parents[number] < 0 else tokens(row.segment_parents[number])
        places = range(starts[number], starts[number] + row.segment_lengths[number])
        return above + [(row.input_ids[i], row.position_ids[i], row.target_mask[i]) for i in places]

    leaves = [i for i in range(len(starts)) if i not in row.segment_parents]
    read = [tokens(i) for i in leaves]
    expected = [list(zip(r.input_ids, range(len(r.input_ids)), r.target_mask, strict=True)) for r in rendered]
    assert sorted(read) == sorted(expected)


def test_clips_that_differ_never_share_a_trunk(model):
    same_words = [model.renderer.render(_conversation(a, "stop", "Who?"), "A man.") for a in ("a0.wav", "b0.wav")]
    row = pack(same_words, [[0], [1]])
    assert row.segment_parents == [-1, 0, 0] and row.clips == [0, 1]


def test_a_trunk_holds_all_audio_places_or_there_is_none(model):
    """Texts that part before the second clip: each conversation keeps its clips to itself."""
    rendered = []
    for word in ("one", "two"):
        content = f"<|AUDIO|> {word} <|AUDIO|> end"
        message = {"role": "user", "content": content, "audios": [{"audio": "a", "text": "x"}] * 2}
        rendered.append(model.renderer.render([message], "Yes."))
    row = pack(rendered, [[0, 0], [0, 0]])
    assert row.segment_parents == [-1, 0, 0] and row.clips == [0, 0, 0, 0]


def test_an_llm_with_an_attention_of_its_own_refuses_packed_rows(model, monkeypatch):
    from nemo_desta.errors import ConfigError

    monkeypatch.setattr(model, "packs", False)
    with pytest.raises(ConfigError, match="packing=false"):
        model(_batch(model, True))


def test_a_sliding_window_shorter_than_a_conversation_is_refused(model, monkeypatch):
    from nemo_desta.errors import ConfigError
    from nemo_desta.models.packed import PackedPass, _attend

    states = torch.randn(1, 2, 6, 4)
    with pytest.raises(ConfigError, match="window of 4"):
        _attend(None, states, states, states, None, packed_pass=PackedPass([6], [-1]), sliding_window=4)
