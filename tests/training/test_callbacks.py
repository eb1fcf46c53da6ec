"""The callbacks' own promises, on a module of two layers."""

import pytest
import torch

from nemo_desta.errors import CheckpointError
from nemo_desta.training.callbacks import FrozenGuard, _keep_rows
from nemo_desta.training.checkpoints import WeightsOnlyIO


class Half(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen, self.free = torch.nn.Linear(3, 3).requires_grad_(False).bfloat16(), torch.nn.Linear(3, 3)


def test_the_guard_sees_one_changed_bit():
    module, guard = Half(), FrozenGuard()
    guard.on_train_start(None, module)
    module.free.weight.data += 1
    guard.on_train_end(None, module)
    module.frozen.bias.data[1] += 0.125
    with pytest.raises(CheckpointError, match="frozen.bias"):
        guard.on_train_end(None, module)


def test_the_guard_sees_a_weight_that_was_set_free():
    module, guard = Half(), FrozenGuard()
    guard.on_train_start(None, module)
    module.frozen.requires_grad_(True)
    with pytest.raises(CheckpointError, match="2 frozen weights"):
        guard.on_train_end(None, module)


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_checkpoints_cannot_run_code(tmp_path, capsys):
    torch.save({"state_dict": {}, "x": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"evil\.ckpt"):
        WeightsOnlyIO().load_checkpoint(tmp_path / "evil.ckpt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn"])
def test_a_torn_checkpoint_is_named(tmp_path, content):
    (tmp_path / "torn.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"torn\.ckpt.*resume from an earlier one"):
        WeightsOnlyIO().load_checkpoint(tmp_path / "torn.ckpt")


def test_rows_after_the_step_resumed_from_are_dropped(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("step,loss\n1,3.0\n2,2.5\n3,2.2\n4")
    assert [r["step"] for r in _keep_rows(path, ("step", "loss"), 2)] == ["1", "2"]
    assert path.read_text().split() == ["step,loss", "1,3.0", "2,2.5"]
    assert _keep_rows(path, ("step", "loss"), 0) == [] and path.read_text().split() == ["step,loss"]
