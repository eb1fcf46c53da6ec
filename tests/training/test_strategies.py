"""Two processes over gloo, under every strategy and kind of checkpoint, do what one process does, stopped or not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nemo_desta.errors import CheckpointError, ConfigError
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.record import write_records
from nemo_desta.serving.loading import from_lightning
from nemo_desta.training.checkpoints import is_distributed, read_checkpoint
from nemo_desta.training.strategies import StrategyConfig, build_strategy, mesh_sizes
from nemo_desta.training.train import run
from tests.data_pipeline.conftest import record

from .conftest import losses, table
from .two_processes import run_two

COMMON = [
    "exp_manager.checkpoint_callback_params.save_top_k=2",
    "trainer.max_steps=4",
    "trainer.val_check_interval=2",
    "model.connector.dropout=0",
    "data.packing=true",
]
ONE = [*COMMON, "data.train_ds.batch_size=4"]
TWO = [*COMMON, "trainer.devices=2"]
SHARDS = "strategy.distributed_checkpoint=true"
KINDS = {
    "ddp": ["trainer.strategy=desta_ddp"],
    "ddp_shards": ["trainer.strategy=desta_ddp", SHARDS],
    "fsdp2": ["trainer.strategy=desta_fsdp2"],
    "fsdp2_shards": ["trainer.strategy=desta_fsdp2", SHARDS],
}
WHOLE_ONLY = {
    "replicas": ["trainer.strategy=desta_fsdp2", "strategy.replicate_size=2"],
    # both processes of a tensor-parallel group read the same batches
    "tensor_parallel": ["trainer.strategy=desta_fsdp2", "strategy.tensor_parallel_size=2", "data.train_ds.batch_size=4"],
    "bf16_llm": ["trainer.strategy=desta_fsdp2", "model.llm_dtype=bfloat16", "trainer.precision=bf16-mixed"],
    "lora": ["trainer.strategy=desta_fsdp2", "model.lora.dropout=0"],
    "checkpointing": ["trainer.strategy=desta_fsdp2", "acceleration.checkpoint_llm=true", "acceleration.checkpoint_connector=true"],
}  # fmt: skip


def mixed_corpus(corpus: Path) -> list[str]:
    """Every second record has no clip: with one record a process, the second process hears nothing."""
    write_records(corpus / "mixed.jsonl", [record(i, f"clips/{i // 2}.wav" if i % 2 == 0 else None) for i in range(12)])
    return [
        "data.train_ds.shuffle=false",
        f"data.train_ds.input_cfg=[{{type: desta, manifest_filepath: {corpus / 'mixed.jsonl'}}}]",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture(scope="module")
def make(corpus, folder):
    from omegaconf import OmegaConf

    from .conftest import training_cfg

    def make_in(name, *overrides):
        return OmegaConf.merge(training_cfg(corpus, folder / name), OmegaConf.from_dotlist(list(overrides)))

    return make_in


@pytest.fixture(scope="module")
def one(make):
    return run(make("one", *ONE))


@pytest.fixture(scope="module")
def errors(make, corpus, folder, one) -> dict[str, str]:
    """All runs of two processes, in one launch."""
    cases = {}
    for name, options in KINDS.items():
        cases[name] = make(name, *TWO, *options)
        cases[f"{name}_begun"] = make(f"{name}_resumed", *TWO, *options, "trainer.max_steps=2")
        cases[f"{name}_resumed"] = make(f"{name}_resumed", *TWO, *options)
    for name, options in WHOLE_ONLY.items():
        cases[name] = make(name, *TWO, *options)
    (first,) = (one.log_dir / "checkpoints").glob("*epoch=0.ckpt")
    cases["from_one"] = make("from_one", *TWO, *KINDS["fsdp2"], f"exp_manager.resume_from_checkpoint='{first}'")
    quiet = [*mixed_corpus(corpus), "data.train_ds.batch_size=1"]
    cases["quiet_ddp"] = make("quiet_ddp", *TWO, *KINDS["ddp"], *quiet)
    cases["quiet_fsdp2"] = make("quiet_fsdp2", *TWO, *KINDS["fsdp2"], *quiet)
    cases["other_sizes"] = make("other_sizes", *TWO, *KINDS["fsdp2"], "strategy.tensor_parallel_size=3")
    cases["other_model"] = make(
        "ddp_resumed", *TWO, *KINDS["ddp"], "trainer.max_steps=6", "model.connector.num_queries=5"
    )
    cases["told_at_3"] = cases["told_again"] = make("told", *TWO, *KINDS["ddp"])
    return run_two(folder / "cases", cases)


@pytest.mark.parametrize(
    "name", [*KINDS, *(f"{k}_resumed" for k in KINDS), "replicas", "tensor_parallel", "checkpointing"]
)
def test_two_processes_are_one(errors, folder, one, name):
    assert errors[name] == ""
    assert losses(folder / name / "t") == pytest.approx(losses(one.log_dir), abs=1e-5)
    last = [
        [float(r["value"]) for r in table(d, "validation") if r["step"] == "4"]
        for d in (folder / name / "t", one.log_dir)
    ]
    assert len(last[0]) == 4 and last[0] == pytest.approx(last[1], abs=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_resumed_is_uninterrupted(errors, folder, name):
    """Bit for bit, losses and weights."""
    assert losses(folder / f"{name}_resumed" / "t") == losses(folder / name / "t")
    whole, parts = (load_file(folder / n / "t" / "model" / "model.safetensors") for n in (name, f"{name}_resumed"))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


def test_a_signal_to_one_of_two_processes_stops_both_and_they_go_on(errors, folder):
    """The second process is told in the midst of step 3; both end with it, and then give what an uninterrupted run does."""
    assert errors["told_at_3"].startswith(
        "PreemptedError: stopped by another process at step 3; a checkpoint is written"
    )
    assert errors["told_again"] == ""
    assert losses(folder / "told" / "t") == losses(folder / "ddp" / "t")
    whole, parts = (load_file(folder / n / "t" / "model" / "model.safetensors") for n in ("ddp", "told"))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


@pytest.mark.parametrize("name", KINDS)
def test_checkpoints_hold_trainable_weights_only_without_pickles(errors, folder, name):
    paths = [*(folder / name / "t" / "checkpoints").glob("*.ckpt")]
    assert paths and all(is_distributed(p) == name.endswith("_shards") for p in paths)
    for path in paths:
        content = read_checkpoint(path)
        assert content["state_dict"] and all(n.startswith("perception.connector.") for n in content["state_dict"])
        assert len(content["optimizer_states"][0]["state"]) == len(content["state_dict"])
        assert not is_distributed(path) or {p.suffix for p in path.iterdir()} == {".pt", ".safetensors"}


def test_a_checkpoint_of_shards_is_that_of_one_file(errors, folder):
    (file, shards) = (next((folder / n / "t" / "checkpoints").glob("*-last.ckpt")) for n in ("fsdp2", "fsdp2_shards"))
    one, other = read_checkpoint(file), read_checkpoint(shards)
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    for number, state in one["optimizer_states"][0]["state"].items():
        assert all(torch.equal(v, other["optimizer_states"][0]["state"][number][k]) for k, v in state.items())
    assert one["optimizer_states"][0]["param_groups"] == other["optimizer_states"][0]["param_groups"]


def test_one_process_goes_on_from_two_and_two_from_one(errors, make, folder):
    """From either strategy and kind the same state is taken up; the optimizer steps go on counting."""
    assert errors["from_one"] == ""
    assert [row["step"] for row in table(folder / "from_one" / "t")] == ["3", "4"]
    found = []
    for name in ("ddp", "fsdp2_shards"):
        (second,) = (folder / name / "t" / "checkpoints").glob("*epoch=0.ckpt")
        found.append(run(make(f"from_{name}", *COMMON, f"exp_manager.resume_from_checkpoint='{second}'")))
    assert len(losses(found[0].log_dir)) == 2
    assert losses(found[0].log_dir) == pytest.approx(losses(found[1].log_dir), abs=1e-5)
    weights = [load_file(r.model_dir / "model.safetensors") for r in found]
    assert all(torch.allclose(value, weights[1][name], atol=1e-4) for name, value in weights[0].items())


def test_a_folder_of_shards_opens_as_a_model(errors, folder):
    (path,) = (folder / "fsdp2_shards" / "t" / "checkpoints").glob("*-last.ckpt")
    opened = from_lightning(path).trainable_state_dict()
    saved = load_file(folder / "fsdp2_shards" / "t" / "model" / "model.safetensors")
    assert all(torch.equal(value, opened[name]) for name, value in saved.items())


@pytest.mark.parametrize("name", ["quiet_ddp", "quiet_fsdp2"])
def test_a_process_whose_batch_has_no_clip_neither_hangs_nor_changes_the_loss(errors, make, corpus, folder, name):
    assert errors[name] == ""
    alone = run(make(f"{name}_alone", *COMMON, *mixed_corpus(corpus), "data.train_ds.batch_size=2"))
    assert losses(folder / name / "t") == pytest.approx(losses(alone.log_dir), abs=1e-5)


@pytest.mark.parametrize("name", ["bf16_llm", "lora"])
def test_half_precision_and_lora_train_sharded(errors, folder, make, name):
    assert errors[name] == ""
    same = [o for o in WHOLE_ONLY[name] if not o.startswith("trainer.strategy")]
    alone = run(make(f"{name}_alone", *ONE, *same))
    assert losses(folder / name / "t") == pytest.approx(losses(alone.log_dir), rel=2e-2 if name == "bf16_llm" else 1e-5)


def test_sizes_that_do_not_fit_the_processes_are_told(errors):
    assert errors["other_sizes"].startswith("ConfigError") and "there are 2 processes" in errors["other_sizes"]


def test_a_checkpoint_of_another_connector_is_refused_on_resume(errors):
    assert errors["other_model"].startswith("CheckpointError") and "layer_prompts" in errors["other_model"]


@pytest.mark.parametrize(("sizes", "world", "expected"), [((), 8, (1, 8, 1)), ((2,), 8, (2, 4, 1)), ((2, 2), 8, (2, 2, 2)), ((1, 8), 8, (1, 1, 8))])  # fmt: skip
def test_auto_takes_what_the_others_leave(sizes, world, expected):
    names = ("replicate_size", "tensor_parallel_size")
    assert mesh_sizes(StrategyConfig(**dict(zip(names, sizes, strict=False))), world) == expected


def test_sizes_belong_to_fsdp2():
    with pytest.raises(ConfigError, match="belong to desta_fsdp2"):
        build_strategy("desta_ddp", StrategyConfig(tensor_parallel_size=2))
    with pytest.raises(ConfigError, match="1 or more"):
        build_strategy("desta_fsdp2", StrategyConfig(replicate_size=0))


def test_strategy_options_without_such_a_strategy_are_refused(make):
    with pytest.raises(ConfigError, match="desta_ddp or desta_fsdp2"):
        run(make("none", *ONE, SHARDS))


@pytest.mark.parametrize(("size", "lora", "said"), [(3, False, "4 attention heads and 2 key/value heads"), (4, False, "2 key/value heads"), (2, True, "LoRA's matrices are not cut")])  # fmt: skip
def test_cuts_that_an_llm_does_not_take_are_told(size, lora, said):
    from nemo_desta.models.parallel import _check_tensor_parallel
    from tests import tiny

    with pytest.raises(ConfigError, match=said):
        _check_tensor_parallel(tiny.shared().base_llm, lora, size)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    from nemo_desta.training import checkpoints

    path = tmp_path / "a.ckpt"
    checkpoints.write_file({"state_dict": {"w": torch.ones(3)}}, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left.*the one before it is whole"):
        checkpoints.write_file({"state_dict": {"w": torch.zeros(3)}}, path)
    with pytest.raises(CheckpointError, match="the one before it is whole"):
        monkeypatch.setattr(checkpoints.torch, "save", full)
        checkpoints.write_distributed({"state_dict": {}, "optimizer_states": []}, tmp_path / "b.ckpt", [])
    assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_other_processes_read_no_weights(monkeypatch):
    """What they build is empty, but for the buffers that are in no file."""
    from lightning.pytorch.utilities import rank_zero_only
    from transformers import AutoModelForCausalLM

    from tests import tiny

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    model = DeSTAModel(tiny.model_config(), frozen_from_rank_0=True)
    assert all(p.is_meta for p in [*model.llm.parameters(), *model.perception.encoder.parameters()])
    assert not any(b.is_meta for b in model.buffers()) and model.head.weight is model.llm.get_input_embeddings().weight


@pytest.mark.requires_multi_gpu
@pytest.mark.parametrize("name", [*KINDS, *WHOLE_ONLY])
def test_two_gpus_are_one(make, folder, name):
    """Over NCCL, in half precision: rounding differs with the order of sums."""
    gpu = ["trainer.accelerator=gpu", "trainer.precision=bf16-mixed"]
    options = {**KINDS, **WHOLE_ONLY}[name]
    same = [o for o in options if not o.startswith(("trainer.strategy", "strategy."))]
    assert run_two(folder / "gpus", {name: make(f"gpus_{name}", *TWO, *options, *gpu)})[name] == ""
    alone = run(make(f"gpu_{name}", *ONE, *same, *gpu))
    assert losses(folder / f"gpus_{name}" / "t") == pytest.approx(losses(alone.log_dir), rel=2e-2)
