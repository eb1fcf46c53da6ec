"""Held-out losses: features looked up, weights put back, clips truly exchanged."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nemo_desta.evaluation.features import AudioFeatures, untrained_state
from nemo_desta.evaluation.heldout import CONDITIONS, exchange_clips, heldout_losses
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.record import AudioRef, Message, Record

PARITY = Path(__file__).parents[1] / "data" / "parity"
ROOT = str(PARITY)
WAVS = ("a0.wav", "b0.wav", "b1.wav", "c0.wav")


def _record(number: int, wav: str) -> Record:
    user = Message("user", "<start_audio><|AUDIO|><end_audio>\n\nWhat is it?", (AudioRef(wav, f"words {wav}"),))
    return Record(str(number), (user,), "It is a sound of some kind.")


RECORDS = [_record(i, WAVS[i % 4]) for i in range(6)]


@pytest.fixture(scope="module")
def model() -> DeSTAModel:
    return DeSTAModel.from_pretrained(PARITY)


@pytest.fixture
def features(model) -> AudioFeatures:
    trained = {name: p.clone() for name, p in model.trainable_state_dict().items()}
    return AudioFeatures(model, {"trained": trained, "untrained": untrained_state(model, 3)})


def test_features_are_those_of_the_model(model, features):
    expected = model.score(RECORDS, ROOT)
    features.add(WAVS, ROOT, batch_size=3)
    assert features.num_clips == 4
    with features.use("trained") as lent:
        for a, b in zip(lent.score(RECORDS, ROOT), expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    features.add(WAVS, ROOT)
    assert features.num_clips == 4, "heard twice"


def test_model_is_whole_again_after_an_error(model, features):
    before = model.score(RECORDS[:1], ROOT)[0]
    features.add(WAVS, ROOT)
    with pytest.raises(RuntimeError, match="boom"), features.use("untrained") as lent:
        assert not torch.equal(lent.score(RECORDS[:1], ROOT)[0], before)
        raise RuntimeError("boom")
    assert torch.equal(model.score(RECORDS[:1], ROOT)[0], before)


def test_untrained_weights_follow_their_seed_and_leave_the_generator_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = untrained_state(model, 1), untrained_state(model, 1), untrained_state(model, 2)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_every_clip_is_exchanged_and_only_the_clip():
    for seed in range(20):
        exchanged = exchange_clips(RECORDS, seed)
        pairs = {(a.audios[0].audio, b.audios[0].audio) for a, b in zip(RECORDS, exchanged, strict=True)}
        assert len(pairs) == 4 and len({b for _, b in pairs}) == 4 and all(a != b for a, b in pairs)
        for a, b in zip(RECORDS, exchanged, strict=True):
            assert b.audios[0].text == a.audios[0].text and replace(b, messages=a.messages) == a


def test_one_clip_cannot_be_exchanged():
    with pytest.raises(ValueError, match="two or more"):
        exchange_clips(RECORDS[:1])


def test_losses_are_means_over_target_tokens(model, features):
    found = heldout_losses(features, RECORDS, ROOT, batch_size=4)
    assert tuple(found) == CONDITIONS
    scores = torch.cat(model.score(RECORDS, ROOT))
    assert found["trained"].loss.value == pytest.approx(-float(scores.mean()), abs=1e-5)
    assert found["trained"].difference.value == 0.0
    for condition in CONDITIONS:
        assert found[condition].loss.low <= found[condition].loss.value <= found[condition].loss.high
        assert found[condition].difference.value == pytest.approx(
            found[condition].loss.value - found["trained"].loss.value
        )
    model.zero_audio = True
    zeroed = -float(torch.cat(model.score(RECORDS, ROOT)).mean())
    model.zero_audio = False
    assert found["zero"].loss.value == pytest.approx(zeroed, abs=1e-5)
    assert found["shuffle"].difference.value != 0.0
