"""Training configurations over the tiny parity models and a dozen tones."""

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from nemo_desta.record import write_records
from tests.data_pipeline.conftest import PARITY, record, tone


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Twelve records about six clips."""
    folder = tmp_path_factory.mktemp("corpus")
    for n in range(6):
        tone(folder / "clips" / f"{n}.wav", 200 + 50 * n, 0.1 + 0.02 * n)
    records = [record(i, f"clips/{i // 2}.wav", "A tone." + " Yes." * (i % 4)) for i in range(12)]
    write_records(folder / "train.jsonl", records)
    return folder


@pytest.fixture
def make_cfg(corpus):
    """`make_cfg(out, "trainer.max_steps=3", ...)` gives a training config that writes to `out`/t."""

    def make(out: Path, *overrides: str) -> DictConfig:
        return OmegaConf.merge(training_cfg(corpus, out), OmegaConf.from_dotlist(list(overrides)))

    return make


def training_cfg(corpus: Path, out: Path) -> DictConfig:
    entry = {"type": "desta", "manifest_filepath": str(corpus / "train.jsonl")}
    cfg: dict[str, Any] = {
        "seed": 3,
        "model": {
            "llm": str(PARITY / "llm" / "tiny"),
            "encoder": str(PARITY / "openai" / "whisper-tiny"),
            "connector": {"num_layers": 1, "num_queries": 4},
            "optimizer": {"lr": 1e-3},
            "lr_scheduler": {"warmup_steps": 2, "max_steps": 20},
        },
        "data": {
            "train_ds": {"input_cfg": [entry], "batch_size": 2, "shuffle": True, "seed": 1},
            "validation_ds": {"batch_size": 8, "datasets": {"dev": {"input_cfg": [copy.deepcopy(entry)]}}},
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 4,
            "val_check_interval": 4,
            "check_val_every_n_epoch": None,
            "gradient_clip_val": 1.0,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        },
        "exp_manager": {
            "exp_dir": str(out),
            "name": "t",
            "resume_if_exists": True,
            "resume_ignore_no_checkpoint": True,
            "disable_validation_on_resume": False,
            "seconds_to_sleep": 0.1,
            "checkpoint_callback_params": {"save_nemo_on_train_end": False, "save_top_k": 1},
        },
        "samples": {"num_per_set": 1, "max_new_tokens": 2},
    }
    return OmegaConf.create(cfg)


def table(log_dir: Path, name: str = "train") -> list[dict[str, str]]:
    with (log_dir / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def losses(log_dir: Path) -> list[float]:
    return [float(row["loss"]) for row in table(log_dir)]
