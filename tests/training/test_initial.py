"""`init_from`: a training starts from what was trained before, and refuses what does not fit."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from nemo_desta.errors import CheckpointError, ConfigError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.training.initial import start_from
from nemo_desta.training.train import run
from tests.data_pipeline.conftest import PARITY

from .conftest import losses, training_cfg


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Four steps of the tiny model."""
    return run(training_cfg(corpus, tmp_path_factory.mktemp("trained")))


@pytest.fixture
def model(corpus, tmp_path):
    """`model({"lora": {...}})`: an untrained model as `trained` had it, but for that."""

    def make(changes=None):
        section = OmegaConf.to_container(training_cfg(corpus, tmp_path).model)
        return DeSTAModel({**section, **(changes or {})})

    return make


@pytest.mark.parametrize("kind", ["folder", "checkpoint"])
def test_training_starts_from_the_weights_named(trained, make_cfg, tmp_path, kind):
    """A rate of zero: what comes out is what went in."""
    (last,) = (trained.log_dir / "checkpoints").glob("*last.ckpt")
    source = trained.model_dir if kind == "folder" else last
    again = run(make_cfg(tmp_path, f"init_from='{source}'", "model.optimizer.lr=1e-30", "trainer.max_steps=1"))
    before, after = (load_file(o.model_dir / "model.safetensors") for o in (trained, again))
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert again.step == 1  # the optimizer and the schedule start anew


def test_calibration_does_not_overwrite_them(trained, make_cfg, tmp_path):
    changes = ["model.connector.calibration_clips=2", "model.optimizer.lr=1e-30", "trainer.max_steps=1"]
    again = run(make_cfg(tmp_path, f"init_from='{trained.model_dir}'", *changes))
    before, after = (load_file(o.model_dir / "model.safetensors") for o in (trained, again))
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_a_resumed_run_goes_on_with_its_own_weights_and_does_not_read_them_again(trained, make_cfg, tmp_path):
    source = tmp_path / "start"
    shutil.copytree(trained.model_dir, source)
    whole = run(make_cfg(tmp_path / "whole", f"init_from='{source}'"))
    run(make_cfg(tmp_path / "parts", f"init_from='{source}'", "trainer.max_steps=2", "trainer.val_check_interval=2"))
    shutil.rmtree(source)
    resumed = run(make_cfg(tmp_path / "parts", f"init_from='{source}'"))
    assert losses(resumed.log_dir) == losses(whole.log_dir)


def test_the_official_format_is_a_start(model):
    """As with the released model; a file of the official implementation on tiny weights."""
    official = json.loads((PARITY / "config.json").read_text(encoding="utf-8"))
    own = {"num_layers": official["qformer_num_hidden_layers"], "num_queries": official["prompt_size"]}
    lora = {} if official["use_lora"] else None
    started = model({"connector": own, "lora": lora, "placeholder": official["placeholder_token"]})
    start_from(started, str(PARITY))
    opened = DeSTAModel.from_pretrained(str(PARITY)).trainable_state_dict()
    assert all(torch.equal(v, opened[n]) for n, v in started.trainable_state_dict().items())


def test_lora_starts_at_no_effect_on_top_of_a_connector(trained, model):
    with_lora = model({"lora": {}})
    start_from(with_lora, str(trained.model_dir))
    state = with_lora.trainable_state_dict()
    saved = load_file(trained.model_dir / "model.safetensors")
    assert all(torch.equal(state[n], saved[n]) for n in saved)
    adapters = {n: v for n, v in state.items() if n not in saved}
    assert adapters and all(not v.any() for n, v in adapters.items() if ".lora_B." in n)


def test_a_checkpoint_with_lora_starts_a_model_with_it(model, tmp_path):
    first = model({"lora": {}})
    first.save_pretrained(str(tmp_path))
    second = model({"lora": {}})
    start_from(second, str(tmp_path))
    one, other = first.trainable_state_dict(), second.trainable_state_dict()
    assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("lora", [None, {"alpha": 8}, {"r": 4}], ids=str)
def test_another_lora_is_refused(model, tmp_path, lora):
    model({"lora": {}}).save_pretrained(str(tmp_path))
    with pytest.raises((ConfigError, CheckpointError), match="lora"):
        start_from(model({"lora": lora}), str(tmp_path))


def test_another_connector_is_refused_with_the_names_that_differ(trained, model):
    with pytest.raises(CheckpointError, match="init_from=.*other shapes"):
        start_from(model({"connector": {"num_layers": 1, "num_queries": 5}}), str(trained.model_dir))


def test_other_encoder_layers_are_refused_though_their_shapes_fit(trained, model):
    with pytest.raises(CheckpointError, match="encoder layers"):
        start_from(model({"tapped_layers": [0, 1, 2, 3]}), _with_taps(trained.model_dir, [0, 1, 2, 4]))


def _with_taps(folder, taps):
    file = folder / "config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["tapped_layers"] = taps
    other = folder.parent / "other_taps"
    shutil.copytree(folder, other)
    (other / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return str(other)


def test_another_llm_is_refused(trained, model, tmp_path):
    shutil.copytree(PARITY / "llm" / "tiny", tmp_path / "llm")
    weights = load_file(tmp_path / "llm" / "model.safetensors")
    first = sorted(weights)[0]
    save_file({**weights, first: weights[first] + 1}, tmp_path / "llm" / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="another llm"):
        start_from(model({"llm": str(tmp_path / "llm")}), str(trained.model_dir))


def test_what_is_not_there_is_told_before_training(make_cfg, tmp_path):
    with pytest.raises(CheckpointError, match=r"no_such_thing\.ckpt"):
        run(make_cfg(tmp_path, f"init_from='{tmp_path}/no_such_thing.ckpt'"))
