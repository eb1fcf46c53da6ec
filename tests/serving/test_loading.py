"""Opening: every kind of model, and refusals that say what to do."""

import pytest
import torch

from nemo_desta.errors import CheckpointError, ConfigError
from nemo_desta.serving.loading import open_model
from tests import tiny


class Code:
    """What a malicious pickle would carry."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a checkpoint"),
        (b"nonsense" * 100, "cannot be read as a checkpoint"),
        ({"x": Code()}, "cannot be read as a checkpoint"),
        ({"state_dict": {}}, "no DeSTAModel was saved here"),
        ([1], "no DeSTAModel was saved here"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_refused(tmp_path, content, said):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError, match=said):
        open_model(str(path))


def test_a_missing_checkpoint_names_its_neighbours(tmp_path):
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"lost\.ckpt: no such file; beside it are last\.ckpt"):
        open_model(str(tmp_path / "lost.ckpt"))


def test_a_distributed_checkpoint_is_named_as_such(tmp_path):
    (tmp_path / "x.ckpt").mkdir()
    with pytest.raises(CheckpointError, match="a folder without meta.pt"):
        open_model(str(tmp_path / "x.ckpt"))


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        open_model(str(tiny.PARITY), device="cuda")


def test_an_official_checkpoint_opens():
    model = open_model(str(tiny.PARITY), device="cpu")
    assert not model.training
    assert str(model.device) == "cpu"
