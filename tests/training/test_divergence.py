"""A loss that is no number never reaches the weights, and the records it came from are named and kept."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from nemo_desta.errors import ConfigError, TrainingError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.training.config import NonFiniteConfig
from nemo_desta.training.divergence import NonFiniteGuard
from nemo_desta.training.train import run

from .conftest import losses
from .test_ddp import two_processes

ALL = ["trainer.max_steps=6", "trainer.val_check_interval=6", "data.train_ds.shuffle=false"]


@pytest.fixture
def poison(monkeypatch):
    """`poison(3, 4)`: the losses of these steps, from 1, are NaN."""

    def start(*steps):
        step = DeSTAModel.training_step

        def poisoned(self, batch, batch_idx):
            out = step(self, batch, batch_idx)
            return {**out, "loss": out["loss"] * float("nan")} if self.trainer.global_step + 1 in steps else out

        monkeypatch.setattr(DeSTAModel, "training_step", poisoned)

    return start


def weights(result) -> dict[str, torch.Tensor]:
    return load_file(result.model_dir / "model.safetensors")


def test_training_stops_and_the_batch_can_be_looked_at(make_cfg, tmp_path, poison):
    poison(3)
    with pytest.raises(
        TrainingError, match=r"step 3, rank 0: the gradients are not finite; records r4, r5\. .*step_3_rank_0\.pt"
    ):
        run(make_cfg(tmp_path, *ALL))
    kept = torch.load(tmp_path / "t" / "non_finite" / "step_3_rank_0.pt", weights_only=True)
    assert kept["step"] == 3 and kept["batches"][0]["ids"] == ["r4", "r5"]
    assert kept["weights"] and all(w.isfinite().all() for w in kept["weights"].values())


def test_a_skipped_step_changes_no_weight(make_cfg, tmp_path, poison, caplog):
    clean = run(make_cfg(tmp_path / "two", *ALL, "trainer.max_steps=2", "trainer.val_check_interval=2"))
    poison(3, 4, 5, 6)
    skipped = run(make_cfg(tmp_path / "six", *ALL, "non_finite.policy=skip"))
    assert skipped.step == 6
    assert weights(skipped).keys() == weights(clean).keys()
    for name, value in weights(skipped).items():
        assert torch.equal(value, weights(clean)[name]), name
    assert caplog.text.count("The step is left out.") == 4
    assert len([*(tmp_path / "six" / "t" / "non_finite").iterdir()]) == 1, "one dump is enough"


def test_training_goes_on_after_a_skipped_step(make_cfg, tmp_path, poison):
    poison(3)
    result = run(make_cfg(tmp_path, *ALL, "non_finite.policy=skip"))
    assert len(losses(result.log_dir)) == 6 and all(w.isfinite().all() for w in weights(result).values())


def test_too_many_in_a_row_stop_it(make_cfg, tmp_path, poison):
    poison(2, 4, 5, 6)
    with pytest.raises(TrainingError, match="step 6, .*at most non_finite.max_in_a_row=2"):
        run(make_cfg(tmp_path, *ALL, "non_finite.policy=skip", "non_finite.max_in_a_row=2"))


def test_an_unknown_policy_is_refused_at_once(make_cfg, tmp_path):
    with pytest.raises(ConfigError, match="policy"):
        run(make_cfg(tmp_path, *ALL, "non_finite.policy=ignore"))


def test_two_processes_stop_together(make_cfg, tmp_path):
    """A learning rate beyond all reason makes the weights, and then the losses, no numbers."""
    cfg = make_cfg(
        tmp_path, *ALL, "trainer.devices=2", "trainer.strategy=ddp", "model.optimizer.lr=1e30", "model.lr_scheduler.warmup_steps=0"
    )  # fmt: skip
    with pytest.raises(AssertionError, match="TrainingError|the gradients are not finite"):
        two_processes(cfg, tmp_path)
    assert {p.name.split("_")[-1] for p in (tmp_path / "t" / "non_finite").iterdir()} == {"0.pt", "1.pt"}


def test_with_a_scaler_the_step_is_left_out_up_to_the_limit(tmp_path):
    trainer = SimpleNamespace(precision="16-mixed", accumulate_grad_batches=1, global_step=6, global_rank=0)
    module = torch.nn.Linear(1, 1)
    module.log = lambda *args, **kwargs: None
    optimizer = torch.optim.SGD(module.parameters())
    guard = NonFiniteGuard(NonFiniteConfig("stop", max_in_a_row=2), tmp_path)

    def step(gradient: float) -> None:
        module.weight.grad = torch.tensor([[gradient]])
        guard.on_train_batch_start(trainer, module, {"ids": ["a"]}, 0)
        guard.on_before_optimizer_step(trainer, module, optimizer)

    for gradient in (float("inf"), float("nan"), 1.0, float("inf"), float("inf")):
        step(gradient)
    with pytest.raises(TrainingError, match="step 7, rank 0"):
        step(float("inf"))
