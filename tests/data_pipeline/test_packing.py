"""Conversations about one clip that share their prefix give the losses and gradients of separate rows."""

import json
from pathlib import Path

import pytest
import torch

from nemo_desta.audio import load_audio
from nemo_desta.data.batch import collate
from nemo_desta.data.packing import pack_rows
from nemo_desta.models.desta import DeSTAModel

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module")
def model() -> DeSTAModel:
    return DeSTAModel.from_pretrained(PARITY)


def _conversation(audio: str, text: str, prompt: str) -> list[dict]:
    user = f"<start_audio><|AUDIO|><end_audio>\n\n{prompt}"
    return [{"role": "user", "content": user, "audios": [{"audio": audio, "text": text}]}]


def _batch(model: DeSTAModel, share: bool) -> dict:
    asked = [
        ("a0.wav", "hello there how are you", "Describe the speaker.", "A calm voice."),
        ("b0.wav", "stop", "What is said?", "Stop."),
        ("a0.wav", "hello there how are you", "Describe the room. Is it large?", "It is a large hall."),
        ("a0.wav", "hello there how are you", "Who?", "A man speaks."),
        ("b0.wav", "stop", "What is said, and how?", "Stop, said aloud."),
    ]
    rendered = [model.renderer.render(_conversation(a, t, p), r) for a, t, p, r in asked]
    rendered.append(model.renderer.render([{"role": "user", "content": "No clip here."}], "Indeed."))
    clips = [load_audio(PARITY / "a0.wav"), load_audio(PARITY / "b0.wav")]
    index = [[0], [1], [0], [0], [1], []]
    return collate(rendered, clips, index, list("abcdef"), model.renderer.eos_id, share_prefixes=share)


def test_shared_prefixes_give_the_same_loss_and_gradients(model):
    results = []
    for share in (False, True):
        model.zero_grad()
        loss = model.training_step(_batch(model, share), 0)["loss"]
        loss.backward()
        results.append((loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (apart, grads_apart), (shared, grads_shared) = results
    torch.testing.assert_close(shared, apart, rtol=0, atol=1e-5)
    for name, gradient in grads_apart.items():
        torch.testing.assert_close(grads_shared[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_three_rows_stand_for_six_conversations(model):
    batch = _batch(model, True)
    assert batch["input_ids"].shape[0] == 3
    assert batch["input_ids"].numel() < _batch(model, False)["input_ids"].numel()
    assert len(batch["ids"]) == 6
    assert int(batch["target_mask"].sum()) == int(_batch(model, False)["target_mask"].sum())


def test_clips_that_differ_never_share_a_row(model):
    same_words = [model.renderer.render(_conversation(a, "stop", "Who?"), "A man.") for a in ("a0.wav", "b0.wav")]
    assert [r.members for r in pack_rows(same_words, [[0], [1]], share_prefixes=True)] == [[0], [1]]


def test_transcripts_that_differ_stay_in_their_branches(model):
    one, two = (model.renderer.render(_conversation("a0.wav", t, "Who?"), "A man.") for t in ("stop", "go on"))
    (row,) = pack_rows([one, two], [[0], [0]], share_prefixes=True)
    rebuilt = [t for t, b in zip(row.input_ids, row.branch, strict=True) if b in (0, 2)]
    assert rebuilt == two.input_ids


def test_official_items_are_untouched_by_sharing(model):
    items = json.loads((PARITY / "items.json").read_text())
    rendered = [model.renderer.render(i["messages"], i["response"]) for i in items]
    rows = pack_rows(rendered, [[0], [1, 2], [3]], share_prefixes=True)
    assert [r.input_ids for r in rows] == [r.input_ids for r in rendered]
