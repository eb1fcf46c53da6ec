"""Export: a training checkpoint becomes a folder that opens with the same weights, in either format."""

import pytest
import torch

from nemo_desta.configs import load_config
from nemo_desta.errors import CheckpointError, ConfigError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.serving.export import SCHEMA, run
from tests import tiny


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    """What Lightning writes, without a trainer."""
    model = tiny.build(lora={})
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    model.on_save_checkpoint(content)
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    torch.save(content, path)
    return model, path


@pytest.mark.parametrize("kind", ["nemo_desta", "official"])
def test_a_training_checkpoint_becomes_a_model(ckpt, tmp_path, kind):
    model, path = ckpt
    cfg = load_config("export", [f"checkpoint={path}", f"output={tmp_path / 'x'}", f"format={kind}"], schema=SCHEMA)
    again = DeSTAModel.from_pretrained(run(cfg))
    mine, theirs = model.trainable_state_dict(), again.trainable_state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    with pytest.raises(ConfigError, match="holds a model already; .*overwrite=true"):
        run(cfg)
    run(load_config("export", [f"checkpoint={path}", f"output={tmp_path / 'x'}", "overwrite=true"], schema=SCHEMA))


def test_a_folder_changes_its_format(tmp_path):
    run({"checkpoint": str(tiny.PARITY), "output": str(tmp_path / "ours")})
    run({"checkpoint": str(tmp_path / "ours"), "output": str(tmp_path / "back"), "format": "official"})
    before, after = DeSTAModel.from_pretrained(tiny.PARITY), DeSTAModel.from_pretrained(tmp_path / "back")
    assert all(torch.equal(v, after.trainable_state_dict()[k]) for k, v in before.trainable_state_dict().items())


def test_other_frozen_weights_are_refused(ckpt, tmp_path):
    content = torch.load(ckpt[1], weights_only=True)
    content["fingerprints"]["llm"] = "0" * 64
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="trained on another llm"):
        run({"checkpoint": str(tmp_path / "x.ckpt"), "output": str(tmp_path / "out")})
    assert not (tmp_path / "out").exists()


def test_a_mistyped_key_is_told():
    with pytest.raises(ConfigError, match="fromat: unknown key; did you mean 'format'"):
        load_config("export", ["checkpoint=a", "output=b", "fromat=official"], schema=SCHEMA)
