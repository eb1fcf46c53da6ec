"""Checkpoints: both formats come back equal, and nothing is loaded onto weights it was not trained on."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from nemo_desta.errors import CheckpointError, ConfigError
from nemo_desta.models.desta import DeSTAModel
from tests import tiny


@pytest.fixture
def parity_copy(tmp_path):
    return shutil.copytree(tiny.PARITY, tmp_path / "official")


def same(a, b):
    a, b = a.trainable_state_dict(), b.trainable_state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_official_format_round_trips_bit_for_bit(tmp_path):
    tiny.parity_model().save_official(tmp_path / "x")
    assert (tmp_path / "x" / "model.safetensors").read_bytes() == (tiny.PARITY / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "x" / "config.json").read_text()) == json.loads(
        (tiny.PARITY / "config.json").read_text()
    )


def test_keys_of_an_official_config_that_mean_nothing_here_are_kept(parity_copy, tmp_path):
    config = json.loads((parity_copy / "config.json").read_text()) | {
        "architectures": ["DeSTA25AudioModel"],
        "transformers_version": "4.51.3",
    }
    (parity_copy / "config.json").write_text(json.dumps(config))
    DeSTAModel.from_pretrained(parity_copy).save_official(tmp_path / "x")
    assert json.loads((tmp_path / "x" / "config.json").read_text()) == config


def test_our_format_round_trips(tmp_path):
    model = tiny.build(tapped_layers=[1, 3], lora={"r": 2, "target_modules": ["o_proj"]}, max_transcript_tokens=7)
    model.save_pretrained(tmp_path / "x")
    again = DeSTAModel.from_pretrained(tmp_path / "x")
    assert same(model, again)
    assert not again.training
    assert {**again.config.to_dict(), "fingerprints": None} == model.config.to_dict()
    again.save_pretrained(tmp_path / "y")
    assert (tmp_path / "x" / "model.safetensors").read_bytes() == (tmp_path / "y" / "model.safetensors").read_bytes()


def test_only_trainable_weights_are_stored(tmp_path):
    model = tiny.build(lora={})
    model.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(n.startswith("perception.connector.") or ".lora_" in n for n in names)


@pytest.mark.parametrize(("layers", "queries"), [(1, 3), (4, 64)])
def test_other_depths_and_query_counts(tmp_path, layers, queries):
    model = tiny.build(connector={"num_layers": layers, "num_queries": queries})
    model.save_official(tmp_path)
    again = DeSTAModel.from_pretrained(tmp_path)
    assert same(model, again)
    assert (again.config.connector.num_layers, again.renderer.num_queries) == (layers, queries)


def test_the_placeholder_of_an_official_checkpoint_is_named(tmp_path):
    tiny.build().save_official(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["placeholder_token"] == "<|im_end|>"
    assert DeSTAModel.from_pretrained(tmp_path).renderer.placeholder_id == 2


@pytest.mark.parametrize("changes", [{"tapped_layers": [3]}, {"lora": {"r": 4}}])
def test_what_the_official_format_cannot_say_is_refused(tmp_path, changes):
    with pytest.raises(CheckpointError, match="save_pretrained keeps"):
        tiny.build(**changes).save_official(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def other_llm(folder):
    shutil.copytree(tiny.LLM, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] += 1e-3
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def test_other_frozen_weights_are_refused(tmp_path):
    tiny.shared().save_pretrained(tmp_path / "x")
    with pytest.raises(CheckpointError, match="trained on another llm .*give the llm it was trained on"):
        DeSTAModel.from_pretrained(tmp_path / "x", llm=other_llm(tmp_path / "other"))


def test_the_same_frozen_weights_may_lie_elsewhere(tmp_path):
    tiny.shared().save_pretrained(tmp_path / "x")
    moved = [shutil.copytree(p, tmp_path / p.name) for p in (tiny.LLM, tiny.ENCODER)]
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    config["model"] |= {"llm": "gone/llm", "encoder": "gone/encoder"}
    (tmp_path / "x" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="gone/llm"):
        DeSTAModel.from_pretrained(tmp_path / "x")
    model = DeSTAModel.from_pretrained(tmp_path / "x", llm=str(moved[0]), encoder=str(moved[1]))
    assert same(model, tiny.shared())
    assert model.config.llm == str(moved[0])


def test_an_official_checkpoint_takes_other_names(parity_copy, tmp_path):
    shutil.move(parity_copy / "llm", tmp_path / "llm")
    model = DeSTAModel.from_pretrained(parity_copy, llm=str(tmp_path / "llm" / "tiny"))
    assert same(model, tiny.parity_model())
    model.save_official(tmp_path / "x")
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    assert (config["llm_model_id"], config["encoder_model_id"]) == (
        str(tmp_path / "llm" / "tiny"),
        "openai/whisper-tiny",
    )


def test_models_inside_the_checkpoint_come_before_those_of_the_working_directory(parity_copy, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    other_llm(tmp_path / "here" / "llm" / "tiny")
    monkeypatch.chdir(tmp_path / "here")
    model = DeSTAModel.from_pretrained(parity_copy)
    assert model.fingerprints == tiny.parity_model().fingerprints


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_frozen_weights_in_half_precision(tmp_path, dtype):
    tiny.shared().save_pretrained(tmp_path)
    model = DeSTAModel.from_pretrained(tmp_path, dtype=dtype)
    assert {p.dtype for n, p in model.named_parameters() if not p.requires_grad} == {torch.bfloat16}
    assert same(model, tiny.shared())
    audio = (str(tiny.PARITY / "a0.wav"), "hello")
    assert len(model.generate([tiny.heard("What?", audio)], max_new_tokens=4)) == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: (p / "config.json").unlink(), "config.json: cannot be read"),
        (lambda p: (p / "config.json").write_text("{"), "config.json: cannot be read"),
        (lambda p: (p / "config.json").write_text("[]"), "model_type is None"),
        (lambda p: (p / "config.json").write_text('{"model_type": "llama"}'), "model_type is 'llama'"),
        (
            lambda p: (p / "config.json").write_text('{"model_type": "desta25"}'),
            "llm_model_id and encoder_model_id missing",
        ),
        (lambda p: (p / "model.safetensors").unlink(), "holds no .safetensors file"),
        (lambda p: (p / "model.safetensors").write_bytes(b"x" * 50), "damaged weights"),
        (
            lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:-100]),
            "damaged weights",
        ),
        (lambda p: edit(p, lambda w: w.pop("perception.connector.layer_weights")), "missing .*layer_weights"),
        (lambda p: edit(p, lambda w: w.update(x=torch.zeros(1))), r"not known \['x'\]"),
        (
            lambda p: edit(p, lambda w: w.update({"perception.connector.layer_weights": torch.zeros(2, 2)})),
            r"other shapes .*\(2, 2\) for \(16, 4\)",
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused(parity_copy, damage, said):
    damage(parity_copy)
    with pytest.raises(CheckpointError, match=said):
        DeSTAModel.from_pretrained(parity_copy)


def edit(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_no_folder_and_no_hub_repository(tmp_path):
    with pytest.raises(CheckpointError, match="no folder and cannot be had from the Hub"):
        DeSTAModel.from_pretrained(tmp_path / "nothing")
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(CheckpointError, match="nemo-desta export"):
        DeSTAModel.from_pretrained(tmp_path / "last.ckpt")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    tiny.shared().save_pretrained(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(state, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("nemo_desta.models.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match="cannot be written .*No space left"):
        tiny.build(seed=1).save_pretrained(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_push_to_hub_uploads_the_folder(monkeypatch):
    seen = {}

    class Api:
        def create_repo(self, repo_id, private, exist_ok):
            return f"https://hub/{repo_id}"

        def upload_folder(self, repo_id, folder_path, commit_message):
            from pathlib import Path

            seen.update({p.name: p.read_bytes() for p in Path(folder_path).iterdir()})

    monkeypatch.setattr("nemo_desta.models.checkpoint.HfApi", Api)
    assert tiny.parity_model().push_to_hub("me/desta", official=True) == "https://hub/me/desta"
    assert seen.keys() == {"config.json", "model.safetensors"}
    assert seen["model.safetensors"] == (tiny.PARITY / "model.safetensors").read_bytes()


def test_push_to_hub_without_a_hub_says_so(monkeypatch):
    class Api:
        def create_repo(self, *_, **__):
            raise RuntimeError("name resolution failed")

    monkeypatch.setattr("nemo_desta.models.checkpoint.HfApi", Api)
    with pytest.raises(CheckpointError, match="'me/desta' cannot be written on the Hub"):
        tiny.shared().push_to_hub("me/desta")


def test_loading_leaves_no_random_frozen_weights(tmp_path):
    """What NeMo's Hub mix-in gets wrong for trainable-only checkpoints, seen from a fresh process."""
    tiny.shared().save_pretrained(tmp_path)
    code = (
        "import sys; from nemo_desta import DeSTAModel; "
        "print(DeSTAModel.from_pretrained(sys.argv[1]).llm.get_input_embeddings().weight.double().sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) == tiny.shared().llm.get_input_embeddings().weight.double().sum().item()
