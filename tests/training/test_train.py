"""A run leaves what it promises, goes on exactly where it was stopped, and refuses what cannot work."""

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nemo_desta.errors import ConfigError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.training.train import run

from .conftest import losses, table


@pytest.fixture(scope="module")
def outcome(corpus, tmp_path_factory):
    """An uninterrupted run of eight steps: two passes over the six batches, the second cut short."""
    from .conftest import training_cfg

    cfg = training_cfg(corpus, tmp_path_factory.mktemp("run"))
    cfg.trainer.max_steps = 8
    return run(cfg)


def test_tables_tell_every_step(outcome):
    rows = table(outcome.log_dir)
    assert [int(r["step"]) for r in rows] == list(range(1, 9))
    assert [int(r["epoch"]) for r in rows] == [0] * 6 + [1] * 2
    assert all(int(r["samples"]) == 2 and int(r["target_tokens"]) > 0 for r in rows)
    assert {(r["step"], r["metric"]) for r in table(outcome.log_dir, "validation")} == {
        (step, metric) for step in "48" for metric in ("val_loss", "val_loss_dev", "val_acc", "val_acc_dev")
    }


def test_it_learns(outcome):
    first, last = (float(r["value"]) for r in table(outcome.log_dir, "validation") if r["metric"] == "val_loss")
    assert last < first


def test_metric_names_are_those_of_salm(outcome):
    (events,) = outcome.log_dir.glob("**/events.out.tfevents*")
    scalars = EventAccumulator(str(events)).Reload().Tags()["scalars"]
    assert {"loss", "learning_rate", "val_loss", "val_loss_dev", "val_acc", "val_acc_dev"} <= set(scalars)


def test_checkpoints_hold_trainable_weights_only_and_no_code(outcome):
    checkpoints = list((outcome.log_dir / "checkpoints").glob("*.ckpt"))
    assert checkpoints
    for path in checkpoints:
        names = torch.load(path, weights_only=True)["state_dict"]
        assert names and all(n.startswith("perception.connector.") for n in names)


def test_the_saved_model_is_the_trained_one(outcome):
    weights = load_file(outcome.model_dir / "model.safetensors")
    (path,) = (outcome.log_dir / "checkpoints").glob("*last.ckpt")
    last = torch.load(path, weights_only=True)["state_dict"]
    opened = DeSTAModel.from_pretrained(str(outcome.model_dir)).trainable_state_dict()
    assert len(weights) == len(last) == len(opened)
    for name, value in last.items():
        torch.testing.assert_close(opened[name], value, rtol=0, atol=0)


def test_sample_answers_are_written_at_each_validation(outcome):
    names = sorted(p.name for p in (outcome.log_dir / "samples").iterdir())
    assert names == ["step_00000004_dev.txt", "step_00000008_dev.txt"]
    assert "target: A tone." in (outcome.log_dir / "samples" / names[0]).read_text()


@pytest.mark.parametrize("stop", [4, 6])
def test_a_resumed_run_continues_bit_for_bit(outcome, make_cfg, tmp_path, stop):
    """Stopped in mid-epoch and at its end, dropout on; two stops in a row, validation where it would have been."""
    run(make_cfg(tmp_path, f"trainer.max_steps={stop - 2}", "trainer.val_check_interval=2"))
    run(make_cfg(tmp_path, f"trainer.max_steps={stop}", "trainer.val_check_interval=2"))
    resumed = run(make_cfg(tmp_path, "trainer.max_steps=8", "trainer.val_check_interval=2"))
    assert losses(resumed.log_dir) == losses(outcome.log_dir)
    expected, weights = (load_file(o.model_dir / "model.safetensors") for o in (outcome, resumed))
    assert all(torch.equal(expected[n], weights[n]) for n in expected)


def test_a_checkpoint_between_validations_keeps_accumulation_and_validation_in_phase(make_cfg, tmp_path):
    """As after a kill: from the checkpoint of step 3, batch 6. Lightning alone would shift both by one batch."""
    often = [
        "trainer.accumulate_grad_batches=2",
        "trainer.val_check_interval=4",
        "data.train_ds.batch_size=1",
        "trainer.max_steps=6",
    ]
    often += [
        f"exp_manager.checkpoint_callback_params.{x}"
        for x in ("every_n_train_steps=3", "every_n_epochs=null", "monitor=step", "mode=max", "save_top_k=-1")
    ]
    whole = run(make_cfg(tmp_path / "whole", *often))
    (third,) = (whole.log_dir / "checkpoints").glob("*step=3.0000-epoch=0.ckpt")
    resumed = run(make_cfg(tmp_path / "parts", *often, f"exp_manager.resume_from_checkpoint='{third}'"))
    assert losses(resumed.log_dir) == losses(whole.log_dir)[3:]
    validated = [row for row in table(whole.log_dir, "validation") if int(row["step"]) > 3]
    assert table(resumed.log_dir, "validation") == validated


def test_a_schedule_without_length_is_refused(make_cfg, tmp_path):
    with pytest.raises(ConfigError, match="max_steps"):
        run(make_cfg(tmp_path, "trainer.max_steps=-1", "trainer.max_epochs=1", "model.lr_scheduler.max_steps=null"))


def test_unknown_keys_are_all_named_before_anything_is_built(make_cfg, tmp_path):
    wrong = [
        "model.conector=1",
        "trainer.max_step=2",
        "data.train_ds.bach=3",
        "exp_manager.nam=t",
        "samples.count=1",
        "sed=1",
    ]
    with pytest.raises(ConfigError) as caught:
        run(make_cfg(tmp_path, *wrong))
    assert all(w.split("=")[0].split(".")[-1] in str(caught.value) for w in wrong)
    assert not (tmp_path / "t").exists()


def test_what_lightning_refuses_is_told_without_a_traceback(make_cfg, tmp_path):
    with pytest.raises(ConfigError, match="^trainer: "):
        run(make_cfg(tmp_path, "trainer.accelerator=cuda", "trainer.devices=64"))
