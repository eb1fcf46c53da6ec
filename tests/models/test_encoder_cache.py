"""`model.encoder_cache`: the same training, without running the encoder again; nothing of it travels with the weights."""

import json

import pytest
import torch

from nemo_desta.errors import ConfigError
from nemo_desta.models.desta import DeSTAModel
from tests import tiny

from .test_training import batch, fit


def make_model(**changes):
    return tiny.build(connector={"num_layers": 1, "num_queries": 4, "dropout": 0.0}, **changes)


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_training_gives_the_same_numbers_with_and_without(tmp_path, dtype, close):
    """Bit for bit once the states are on disk; to rounding without, for CPUs that round a batch unlike a clip alone."""
    losses, weights = [], []
    for cache in ({}, {"folder": str(tmp_path / "cache")}, {"folder": str(tmp_path / "cache")}):
        model = make_model(encoder_cache=cache, encoder_dtype=dtype)
        model.setup("fit")
        losses.append(float(model.training_step(batch(model), 0)["loss"].detach()))
        fit(model, tmp_path / "run")
        weights.append(model.trainable_state_dict())
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=close)
    assert model.perception.cache.misses == 0 and model.perception.cache.hits == 10  # two clips in five batches
    assert all(torch.equal(value, weights[2][name]) for name, value in weights[1].items())


def test_the_encoder_does_not_run_for_what_is_on_disk(tmp_path, monkeypatch):
    model = make_model(encoder_cache={"folder": str(tmp_path)})
    model.setup("fit")
    loss = model.training_step(batch(model), 0)["loss"]
    monkeypatch.setattr(model.perception.encoder.whisper.layers[0], "forward", None)
    again = model.training_step(batch(model), 0)["loss"]
    assert torch.equal(loss, again)


def test_the_folder_does_not_travel_with_the_weights(tmp_path):
    model = make_model(encoder_cache={"folder": str(tmp_path / "cache")})
    model.save_pretrained(str(tmp_path / "model"))
    assert "encoder_cache" not in json.loads((tmp_path / "model" / "config.json").read_text())["model"]
    opened = DeSTAModel.from_pretrained(str(tmp_path / "model"))
    opened.setup("fit")
    assert opened.perception.cache is None


def test_a_sharded_encoder_takes_no_cache(tmp_path):
    model = make_model(encoder_cache={"folder": str(tmp_path)})
    model._device_mesh = object()  # as Lightning's model parallelism sets it
    with pytest.raises(ConfigError, match="use desta_ddp"):
        model.setup("fit")


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="encoder_cache.max_gb is 0"):
        DeSTAModel(tiny.model_config(encoder_cache={"max_gb": 0}))
