"""Export: a training checkpoint or a model folder becomes a model folder with the same weights."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from nemo_desta.configs import load_config
from nemo_desta.errors import CheckpointError
from nemo_desta.inference.export import SCHEMA, ExportConfig, open_model, run
from nemo_desta.models.desta import DeSTAModel

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    """What Lightning saves for this model: trainable weights, hyper-parameters, fingerprints."""
    from lightning.pytorch import Trainer

    model = DeSTAModel.from_pretrained(PARITY)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.strategy.connect(model)
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    return path


def export(checkpoint, output, **more):
    run(OmegaConf.create({"checkpoint": str(checkpoint), "output": str(output), **more}))
    return load_file(output / "model.safetensors")


def test_conf_and_schema_agree():
    cfg = load_config("desta_to_hf", ["checkpoint=c", "output=o"], schema=SCHEMA)
    assert ExportConfig(**OmegaConf.to_container(cfg)) == ExportConfig("c", "o")


def test_training_checkpoint_becomes_an_official_folder_bit_for_bit(ckpt, tmp_path):
    written, source = export(ckpt, tmp_path / "official", format="official"), load_file(PARITY / "model.safetensors")
    assert written.keys() == source.keys()
    assert all(torch.equal(written[name], source[name]) for name in source)


def test_own_folder_opens_and_can_change_format(ckpt, tmp_path):
    export(ckpt, tmp_path / "own")
    model = DeSTAModel.from_pretrained(tmp_path / "own")
    want = DeSTAModel.from_pretrained(PARITY).trainable_state_dict()
    assert all(torch.equal(tensor, want[name]) for name, tensor in model.trainable_state_dict().items())
    again = export(tmp_path / "own", tmp_path / "official", format="official")
    assert again.keys() == load_file(PARITY / "model.safetensors").keys()


def test_other_frozen_weights_are_refused(ckpt, tmp_path):
    stored = torch.load(ckpt, weights_only=True)
    stored["fingerprints"]["llm"] = "0" * 64
    torch.save(stored, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="trained on another llm"):
        open_model(str(tmp_path / "other.ckpt"))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04broken"])
def test_a_damaged_file_is_told(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x.ckpt: damaged, or no checkpoint"):
        open_model(str(tmp_path / "x.ckpt"))


def test_what_is_no_checkpoint_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        open_model(str(tmp_path / "nowhere.ckpt"))
    with pytest.raises(CheckpointError, match="folder without config.json"):
        open_model(str(tmp_path))
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of a DeSTAModel"):
        open_model(str(tmp_path / "foreign.ckpt"))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        open_model(str(tmp_path / "evil.ckpt"))
