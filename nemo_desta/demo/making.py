"""Stages that make things: models, corpus, training targets, the trained model."""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_desta.pypi_models import resolve

__all__ = ["corpus", "manifest_of", "models", "records_of", "selfgen", "training", "training_overrides"]


def manifest_of(output_dir: Path, split: str) -> Path:
    """The cuts of a split."""
    return output_dir / "corpus" / f"desta-mini_cuts_{split}.jsonl.gz"


def records_of(output_dir: Path, split: str) -> Path:
    """The self-generated records of a split."""
    return output_dir / "selfgen" / split / "records.jsonl"


def models(config: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """Fetch, check and convert the two pretrained models."""
    folders = {kind: resolve(config[kind]) for kind in ("llm", "encoder")}
    return {"folders": folders, "names": {kind: config[kind] for kind in folders}, "files": {}}


def corpus(config: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """Make the corpus by its Lhotse recipe."""
    from nemo_desta.recipes.desta_mini import prepare_desta_mini

    folder = output_dir / "corpus"
    made = prepare_desta_mini(folder, dict(config["num_clips"]), seed=config["seed"], num_jobs=config["num_jobs"])
    splits = {}
    for split, manifests in made.items():
        recordings, supervisions = list(manifests["recordings"]), list(manifests["supervisions"])
        splits[split] = {
            "clips": len(recordings),
            "hours": sum(r.duration for r in recordings) / 3600,
            "voices": len({s.speaker for s in supervisions if s.speaker}),
        }
    return {"splits": splits, "files": {"audio and manifests": "corpus"}}


def selfgen(config: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """Let the backbone write the targets of every split."""
    from dataclasses import asdict

    from transformers.utils.logging import disable_progress_bar

    from nemo_desta.selfgen.backends.hf import HFBackend
    from nemo_desta.selfgen.config import find_config
    from nemo_desta.selfgen.engine import run_selfgen
    from nemo_desta.selfgen.prompts import PromptPool

    disable_progress_bar()  # that of loading weights
    backend = HFBackend(config["llm"])
    shared = {
        k: config[k]
        for k in ("pools", "filter_config", "seed_config", "seed", "temperature", "max_new_tokens", "batch_size")
    }
    splits = {}
    for split, prompts_per_cut in config["prompts_per_cut"].items():
        summary = run_selfgen(
            manifest_of(output_dir, split),
            output_dir / "selfgen" / split,
            backend=backend,
            dataset="desta-mini",
            audio_root=str(output_dir / "corpus"),
            system_prompts=[config["system_prompt"]],
            prompts_per_cut=prompts_per_cut,
            **shared,
        )
        splits[split] = {k: v for k, v in asdict(summary).items() if k != "path"}
    pool = PromptPool.from_yaml([find_config("prompts", p) for p in config["pools"]])
    return {"splits": splits, "num_prompts": len(pool), "files": {"records": "selfgen"}}


def training_overrides(config: Mapping[str, Any], output_dir: Path) -> list[str]:
    """Overrides of the training YAML: models, data and folders of the demo, then those of the budget."""
    return [
        f"model.llm={_quoted(config['llm'])}",
        f"model.encoder={_quoted(config['encoder'])}",
        f"train_records={_quoted(records_of(output_dir, 'train'))}",
        f"validation_records={_quoted(records_of(output_dir, 'validation'))}",
        f"audio_root={_quoted(output_dir / 'corpus')}",
        f"exp_manager.exp_dir={_quoted(output_dir / 'training')}",
        *config["overrides"],
    ]


def _quoted(value: str | Path) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def training(config: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """Train the connector with NeMo's trainer."""
    from nemo_desta.configs import load_config
    from nemo_desta.nemo_sections import nemo_problems
    from nemo_desta.training.train import SCHEMA, run

    cfg = load_config(config["config"], training_overrides(config, output_dir), schema=SCHEMA, foreign=nemo_problems)
    done = run(cfg)
    for name, made in (("model", done.model_dir), ("tables", done.log_dir / "tables")):
        shutil.copytree(made, output_dir / "training" / name, dirs_exist_ok=True)  # out of the dated folder
    with (output_dir / "training" / "tables" / "train.csv").open(newline="", encoding="utf-8") as file:
        records = sum(int(row["samples"]) for row in csv.DictReader(file))
    files = {"model": "training/model", "loss tables": "training/tables"}
    return {"steps": done.step, "records": records, "metrics": done.metrics, "files": files}
