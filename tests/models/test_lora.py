"""LoRA: official names and values, float32 adapters, trained alone."""

import json

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from nemo_desta.models.desta import DeSTAModel
from tests import tiny

PREFIX = "llm_model.base_model.model.model.layers."


def official_with_lora(folder):
    """An official checkpoint with adapters made by hand, under the names of the official code."""
    torch.manual_seed(0)
    weights = load_file(tiny.PARITY / "model.safetensors")
    sizes = {"q_proj": 32, "k_proj": 16, "v_proj": 16}
    for layer in range(2):
        for part, size in sizes.items():
            name = f"{PREFIX}{layer}.self_attn.{part}.lora_"
            weights[f"{name}A.default.weight"] = torch.randn(16, 32) * 0.3
            weights[f"{name}B.default.weight"] = torch.randn(size, 16) * 0.3
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((tiny.PARITY / "config.json").read_text()) | {"use_lora": True}
    config |= {"llm_model_id": str(tiny.LLM), "encoder_model_id": str(tiny.ENCODER)}
    (folder / "config.json").write_text(json.dumps(config))
    return weights


def merged_llm(weights, folder):
    """The LLM with W + B A * 16 / 16 written into its weights."""
    llm = AutoModelForCausalLM.from_pretrained(tiny.LLM)
    state = llm.state_dict()
    for name, a in weights.items():
        if name.endswith("lora_A.default.weight"):
            target = name.removeprefix("llm_model.base_model.model.").replace(".lora_A.default", "")
            state[target] += weights[name.replace("lora_A", "lora_B")] @ a
    llm.load_state_dict(state)
    llm.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / file).write_bytes((tiny.LLM / file).read_bytes())
    return str(folder)


def items():
    return json.loads((tiny.PARITY / "items.json").read_text())


def test_an_official_lora_checkpoint_agrees_with_its_merged_weights(tmp_path):
    weights = official_with_lora(tmp_path / "x")
    adapted = DeSTAModel.from_pretrained(tmp_path / "x")
    merged = DeSTAModel.from_pretrained(tiny.PARITY, llm=merged_llm(weights, tmp_path / "merged"))
    scores = [model.score(items(), str(tiny.PARITY)) for model in (adapted, merged, tiny.parity_model())]
    for ours, expected, bare in zip(*scores, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
        assert (ours - bare).abs().max() > 0.1
    conversations = [item["messages"] for item in items()]
    answers = [m.generate(conversations, str(tiny.PARITY), max_new_tokens=8) for m in (adapted, merged)]
    assert answers[0] == answers[1]


def test_official_lora_round_trips_bit_for_bit(tmp_path):
    official_with_lora(tmp_path / "x")
    DeSTAModel.from_pretrained(tmp_path / "x").save_official(tmp_path / "y")
    for file in ("model.safetensors", "config.json"):
        assert json_or_bytes(tmp_path / "x" / file) == json_or_bytes(tmp_path / "y" / file)


def json_or_bytes(path):
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()


def test_groups_and_what_trains():
    groups = tiny.build(lora={}).parameter_groups()
    assert list(groups) == ["connector", "lora", "encoder", "llm"]
    trains = {name: {p.requires_grad for _, p in members} for name, members in groups.items()}
    assert trains == {"connector": {True}, "lora": {True}, "encoder": {False}, "llm": {False}}
    assert len(groups["lora"]) == 2 * 3 * 2


def test_parameter_counts_are_logged(caplog):
    with caplog.at_level("INFO", logger="nemo_desta.models"):
        model = tiny.build()
    said = {r.message.split()[0]: int(r.message.split()[1]) for r in caplog.records if "trainable" in r.message}
    assert said == {name: sum(p.numel() for _, p in members) for name, members in model.parameter_groups().items()}


def test_adapters_are_float32_on_a_half_precision_llm():
    model = tiny.build(lora={}, llm_dtype="bfloat16")
    assert {p.dtype for _, p in model.parameter_groups()["lora"]} == {torch.float32}
    assert {p.dtype for _, p in model.parameter_groups()["llm"]} == {torch.bfloat16}


def test_lora_dropout_follows_the_mode_and_frozen_parts_never_train():
    model = tiny.build(lora={}).train()
    modes = {name: module.training for name, module in model.llm.named_modules() if "lora_dropout" in name}
    assert modes
    assert all(modes.values())
    assert not any(m.training for n, m in model.llm.named_modules() if "lora_dropout" not in n)
    assert not any(m.training for m in model.perception.encoder.modules())
    assert model.perception.connector.training
    model.eval()
    assert not any(m.training for m in model.modules())
