"""Training: the frozen halves stay bit-identical and out of optimizer and checkpoint; Lightning's files are plain."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from nemo_desta.errors import CheckpointError
from nemo_desta.models.scoring import make_batch
from nemo_desta.record import Record
from nemo_desta.serving.loading import from_lightning
from tests import tiny

RECORDS = [
    tiny.record("0", "What?", "A bell.", ("a0.wav", "hello")),
    tiny.record("1", "Which?", "The second one.", ("b0.wav", " "), ("a0.wav", "hello")),
    tiny.record("2", "Hello.", "Hi."),
]


def batch(model, rows=RECORDS):
    records = [Record.from_dict(r) for r in rows]
    rendered = [model.renderer.render(r.messages, r.response) for r in records]
    return make_batch(model, rendered, [r.audios for r in records], str(tiny.PARITY))


def frozen(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}


def fit(model, folder, **kwargs):
    saver = ModelCheckpoint(dirpath=folder, save_last=True)
    trainer = Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saver],
        **kwargs,
    )
    data = torch.utils.data.DataLoader([batch(model)] * 3, batch_size=None)
    sets = torch.utils.data.DataLoader([{"set": batch(model)}], batch_size=None)
    trainer.fit(model, data, sets)
    return trainer, folder / "last.ckpt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model = tiny.build(lora={})
    before = frozen(model), model.trainable_state_dict()
    before = before[0], {k: v.clone() for k, v in before[1].items()}
    trainer, path = fit(model, tmp_path_factory.mktemp("run"))
    return model, before, trainer, path


def test_frozen_weights_are_bit_identical_and_the_others_moved(trained):
    model, (halves, others), _, _ = trained
    assert all(torch.equal(p, halves[n]) for n, p in frozen(model).items())
    still = [n for n, p in model.trainable_state_dict().items() if torch.equal(p, others[n])]
    assert still == []


def test_the_optimizer_holds_what_trains_and_nothing_else(trained):
    model, _, trainer, _ = trained
    held = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}


def test_a_lightning_checkpoint_is_plain_data_of_trainable_weights(trained):
    model, _, _, path = trained
    content = torch.load(path, weights_only=True)
    assert content["state_dict"].keys() == model.trainable_state_dict().keys()
    assert content["fingerprints"] == model.fingerprints
    assert content["hyper_parameters"]["cfg"]["llm"] == str(tiny.LLM)


def test_a_lightning_checkpoint_opens_as_a_model(trained):
    model, _, _, path = trained
    again = from_lightning(path)
    assert not again.training
    model.eval()
    for ours, expected in zip(
        again.score(RECORDS, str(tiny.PARITY)), model.score(RECORDS, str(tiny.PARITY)), strict=True
    ):
        torch.testing.assert_close(ours, expected, atol=0, rtol=0)


def test_resuming_on_other_frozen_weights_is_refused(trained):
    _, _, _, path = trained
    content = torch.load(path, weights_only=True)
    content["fingerprints"]["encoder"] = "0" * 64
    with pytest.raises(CheckpointError, match="to resume from was trained on another encoder"):
        tiny.build(lora={}).on_load_checkpoint(content)


def test_metric_names_are_those_of_nemos_salm(trained):
    names = set(trained[2].callback_metrics)
    assert {"loss", "learning_rate", "val_loss", "val_acc", "val_loss_set", "val_acc_set"} <= names
    assert all(torch.isfinite(v) for v in trained[2].callback_metrics.values())


def test_frozen_parts_stay_in_eval_mode_while_training():
    model = tiny.build().train()
    assert model.perception.connector.training
    assert not model.perception.encoder.training
    assert not any(m.training for m in model.llm.modules())


def test_answering_leaves_the_model_trainable():
    """What was cached while answering, in inference mode, must not meet autograd afterwards."""
    model = tiny.build()
    model.generate([RECORDS[0]["messages"]], str(tiny.PARITY), max_new_tokens=2)
    model.train()
    model.training_step(batch(model), 0)["loss"].backward()
    assert all(p.grad is not None for p in model.perception.connector.parameters())


def test_the_loss_is_the_mean_over_target_tokens():
    model = tiny.build()
    loss = model.training_step(batch(model), 0)["loss"]
    scores = torch.cat(model.score(RECORDS, str(tiny.PARITY)))
    torch.testing.assert_close(loss.detach(), -scores.mean(), atol=1e-5, rtol=1e-5)


def test_a_batch_without_audio_trains_nothing_but_takes_part():
    model = tiny.build()
    model.training_step(batch(model, RECORDS[2:]), 0)["loss"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.perception.connector.parameters())


def test_validation_weighs_tokens_and_skips_exhausted_sets():
    model = tiny.build()
    logged = {}
    model.log = lambda name, value, **_: logged.__setitem__(name, float(value.detach()))
    model.validation_step({"a": batch(model, RECORDS[:1]), "b": batch(model, RECORDS[:2])}, 0)
    model.validation_step({"a": batch(model, RECORDS[1:2]), "b": None}, 1)
    model.on_validation_epoch_end()
    scores = torch.cat(model.score(RECORDS[:2], str(tiny.PARITY)))
    assert logged["val_loss_a"] == pytest.approx(-float(scores.mean()), abs=1e-4)
    assert logged["val_loss_b"] == pytest.approx(logged["val_loss_a"], abs=1e-4)
    assert logged["val_loss"] == pytest.approx(logged["val_loss_a"], abs=1e-4)
    assert 0 <= logged["val_acc"] <= 1
