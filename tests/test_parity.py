"""The official implementation's numbers (tests/data/parity/README.md) come out of ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nemo_desta.models.desta import DeSTAModel
from nemo_desta.models.scoring import make_batch
from nemo_desta.record import Record

PARITY = Path(__file__).parent / "data" / "parity"


@pytest.fixture(scope="module")
def model() -> DeSTAModel:
    return DeSTAModel.from_pretrained(PARITY)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    items = json.loads((PARITY / "items.json").read_text())
    return [Record.from_dict({"id": str(i), **item}) for i, item in enumerate(items)]


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return dict(np.load(PARITY / "expected.npz"))


@pytest.fixture(scope="module")
def batch(model, records) -> dict:
    rendered = [model.renderer.render(r.messages, r.response) for r in records]
    return make_batch(model, rendered, [r.audios for r in records], str(PARITY))


def test_token_ids_are_the_official_ones(batch, expected):
    ours = batch["input_ids"].clone()
    for row, place in batch["audio_position"].tolist():
        ours[row, place : place + 16] = 11
    same = ours.numpy() == expected["input_ids"]
    text = batch["attention_mask"].numpy() & (expected["input_ids"] != 11)
    assert same[text].all()
    assert (batch["attention_mask"].numpy() == expected["attention_mask"].astype(bool)).all()
    assert (batch["target_mask"].numpy() == (expected["labels"] != -100)).all()


def test_audio_embeddings(model, batch, expected):
    with torch.no_grad():
        ours = model.perception(batch["audio_signal"], batch["audio_len"])[batch["audio_index"]]
    np.testing.assert_allclose(ours.numpy(), expected["audio_embeddings"], atol=1e-4)


def test_target_log_probabilities(model, records, expected):
    for i, scores in enumerate(model.score(records, audio_root=str(PARITY))):
        np.testing.assert_allclose(scores.numpy(), expected[f"target_logprobs_{i}"], atol=1e-4)


def test_loss_and_gradient_norms(model, batch, expected):
    model.zero_grad()
    loss = model.training_step(batch, 0)["loss"]
    loss.backward()
    assert abs(float(loss) - float(expected["loss"])) < 1e-4
    norms = json.loads((PARITY / "grad_norms.json").read_text())
    trained = {n.replace(".", "/"): float(p.grad.norm()) for n, p in model.named_parameters() if p.grad is not None}
    assert trained.keys() == norms.keys()
    for name, norm in norms.items():
        limit = {"abs": 1e-4} if name.endswith("key/bias") else {"rel": 1e-3}
        assert trained[name] == pytest.approx(norm, **limit), name


def test_greedy_generation(model, records, expected):
    conversations = [[m.to_dict() for m in r.messages] for r in records]
    texts = model.generate(conversations, audio_root=str(PARITY), max_new_tokens=16)
    assert texts == model.tokenizer.batch_decode(expected["generated"], skip_special_tokens=True)
