"""`nemo-desta eval run` and `eval predict`: benchmarks, predictors, scores, forgetting, report."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.benchmarks import get_benchmark, get_rule
from nemo_desta.evaluation.comparing import compare
from nemo_desta.evaluation.forgetting import Forgetting, forgetting
from nemo_desta.evaluation.judging import Judge
from nemo_desta.evaluation.predicting.answering import Answerer
from nemo_desta.evaluation.predicting.clips import ClipStore
from nemo_desta.evaluation.predicting.config import EvalConfig
from nemo_desta.evaluation.predicting.model import LocalModel
from nemo_desta.evaluation.predicting.prompts import Templates
from nemo_desta.evaluation.predicting.run import Questions, chosen_items, predict, transcribe_all, why_not
from nemo_desta.evaluation.predictions import read_predictions
from nemo_desta.evaluation.prepared import check_version, load_data, summary
from nemo_desta.evaluation.scores import Scores, read_scores, write_scores
from nemo_desta.evaluation.scoring import score_file, table
from nemo_desta.files import lock_directory, write_json
from nemo_desta.schema import from_dict

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["SCHEMA", "Evaluation", "predict_only", "run"]

SCHEMA = EvalConfig
_REFERENCES = {"speech_ifeval": "oracle"}
"""Benchmark -> the predictor whose scores become the scorer's option `reference` for the others."""
_log = logging.getLogger(__name__)


def run(cfg: "DictConfig | Mapping[str, Any]") -> Path:
    """Take a model through benchmarks: predict, score, report. A second run goes on where the first was stopped.

    Returns:
        The report.

    Raises:
        ConfigError: the configuration is wrong, before anything is computed.
        DeSTAError: a stage failed; what was made before stays.
    """
    evaluation = Evaluation(_config(cfg))
    with lock_directory(evaluation.folder):
        return evaluation.run()


def predict_only(cfg: "DictConfig | Mapping[str, Any]") -> list[Path]:
    """The first stage of `run` alone: the predictions of every benchmark and predictor."""
    evaluation = Evaluation(_config(cfg))
    with lock_directory(evaluation.folder):
        paths = [path for name in evaluation.names for path in evaluation.predict(name).values()]
    for path in paths:
        click.echo(str(path))
    return paths


def _config(cfg: "DictConfig | Mapping[str, Any]") -> EvalConfig:
    from omegaconf import DictConfig, OmegaConf

    config = from_dict(
        EvalConfig, OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else dict(cfg)
    )
    config.check()
    return config


class Evaluation:
    """One model, some benchmarks.

    Attributes:
        folder: <benchmark>/<predictor>/{manifest.json, predictions.jsonl, scores.json}, report.html, report.md.
        names: of the benchmarks that have data.
    """

    def __init__(self, config: EvalConfig) -> None:
        self.config, self.folder = config, Path(config.output_dir)
        self.names = [name for name, section in config.benchmarks.items() if section.data]
        for name in self.names:
            Templates(config.benchmarks[name].prompts)
            get_rule(get_benchmark(name), config.benchmarks[name].rule)
        self.local = LocalModel(config)
        self.questions: dict[str, Questions] = {}

    @cached_property
    def judge(self) -> Judge | None:
        """Who judges; replies are kept in the output folder."""
        if self.config.judge is None:
            return None
        from nemo_desta.evaluation.judging.options import JudgeOptions

        return JudgeOptions.parse(self.config.judge).build(self.folder / "judge_replies.jsonl")

    def run(self) -> Path:
        """All stages; see `run`."""
        from nemo_desta.evaluation.report import write_markdown, write_report

        self._check_judges()
        scored: list[Path] = []
        for name in self.names:
            scored += self._score_all(name, self.predict(name))
            if self.config.forgetting and self.config.model is not None:
                self._forgetting(name)
        data = {name: q.data for name, q in self.questions.items()}
        write_markdown(scored, self.folder / "report.md")
        report = write_report(scored, self.folder / "report.html", data=data)
        click.echo(f"\nreport: {report}")
        return report

    def _score_all(self, name: str, predictions: Mapping[str, Path]) -> list[Path]:
        """scores.json of each predictor, in their order; the one that others are held against is scored first."""
        reference = _REFERENCES.get(name)
        done: dict[str, Path] = {}
        for predictor in sorted(predictions, key=lambda p: p != reference):
            options = {}
            if predictor != reference and reference in done and not isnan(read_scores(done[reference]).headline.value):
                options = {"reference": str(done[reference])}
            done[predictor] = self.score(name, predictions[predictor], options)
        return [done[predictor] for predictor in predictions]

    def _check_judges(self) -> None:
        _ = self.judge  # its options are checked before hours are spent
        for name in self.names:
            rule = get_rule(get_benchmark(name), self.config.benchmarks[name].rule)
            if rule.needs_judge and self.judge is None:
                others = [r.name for r in get_benchmark(name).rules if not r.needs_judge]
                raise ConfigError(
                    f"{name}: rule {rule.name} asks a judge (official: {rule.judge}); give judge.engine=... and judge.model=..., "
                    f"or benchmarks.{name}.rule={others[0]}, which is not the official figure."
                )

    def predict(self, name: str) -> dict[str, Path]:
        """Predictions of one benchmark by predictor; a predictor that cannot answer it is left out, and the log says why."""
        questions = self.load(name)
        if {"desta", "cascade"} & set(self.config.predictors):
            transcribe_all(questions, self.local.transcribe)
        done = {}
        for predictor in self.config.predictors:
            reason = why_not(predictor, questions.items)
            if reason:
                _log.warning("%s: no %s: %s.", name, predictor, reason)
                continue
            done[predictor] = predict(
                questions, predictor, self._answerer(predictor), self.folder / name / predictor, self.config
            )
        return done

    def load(self, name: str) -> Questions:
        """The questions of a benchmark, read once."""
        if name not in self.questions:
            section, benchmark = self.config.benchmarks[name], get_benchmark(name)
            work = self.folder / name / "work"
            data = check_version(load_data(benchmark, Path(section.data or ""), work, section.subsets), section.version)
            click.echo(summary(benchmark, data))
            templates = Templates(section.prompts)
            templates.check_kinds(sorted({i.kind for i in data.items}))
            encoder = self.local.encoder if {"desta", "cascade"} & set(self.config.predictors) else ""
            clips = ClipStore(data.root, work, self.config.long_audio, encoder)
            items = chosen_items(data, section.subsets, section.limit)
            self.questions[name] = Questions(benchmark, section, data, items, templates, clips)
        return self.questions[name]

    def score(self, name: str, predictions: Path, options: Mapping[str, str] | None = None) -> Path:
        """scores.json beside the predictions.

        Args:
            options: of the benchmark's scorer; those of the configuration go before.
        """
        questions = self.load(name)
        scores = self._scored(name, predictions, questions, options)
        notes = (*scores.notes, *self._own_notes(questions))
        path = predictions.parent / "scores.json"
        write_scores(path, replace(scores, notes=notes))
        click.echo(f"\n{predictions.parent.name}: {table(scores)}")
        return path

    def _scored(
        self, name: str, predictions: Path, questions: Questions, more: Mapping[str, str] | None = None
    ) -> Scores:
        section = questions.section
        data = replace(questions.data, items=questions.items)
        protocol = Path(section.protocol) if section.protocol else None
        return score_file(
            name, predictions, section.rule, self.judge, data, protocol, {**(more or {}), **_texts(section.options)}
        )

    def _own_notes(self, questions: Questions) -> Iterator[str]:
        section = questions.section
        if section.limit is not None:
            yield f"ONLY A PART: the first {section.limit} questions of each subset were asked (limit)."
        long_ = len(questions.clips.long_clips)
        if long_:
            what = {"cut": "cut to their first 30 s", "split": "heard in pieces of 30 s", "error": "not answered"}
            yield f"{long_} clips last more than 30 s: {what[self.config.long_audio]} (long_audio={self.config.long_audio})."

    def _answerer(self, predictor: str) -> Answerer:
        if predictor != "endpoint":
            return self.local
        from nemo_desta.evaluation.predicting.endpoint import Endpoint

        if self.config.endpoint is None:  # refused by EvalConfig.check
            raise ConfigError("predictors has endpoint, and the section endpoint is empty.")
        return Endpoint(self.config.endpoint)

    def _forgetting(self, name: str) -> None:
        """The model without audio beside its backbone on the same text; with LoRA, the adapter on for text, too, and its scores."""
        from nemo_desta.evaluation.predicting.untouched import adapted, untouched

        questions = self.load(name)
        form = next((p for p in ("oracle", "backbone") if why_not(p, questions.items) is None), None)
        if form is None:
            return
        limited = replace(questions, items=questions.items[: self.config.forgetting])
        model, folder = self.local.model, self.folder / name / "forgetting"
        who: dict[str, Answerer] = {"without_audio": self.local, "untouched": untouched(model)}
        if not self.local.frozen:
            who["adapter_on"] = adapted(model, self.local.weights)
        paths = {k: predict(limited, form, a, folder / k, self.config) for k, a in who.items()}
        found = {
            k: _compared(paths[k], paths["untouched"], name, frozen=k == "without_audio").to_dict()
            for k in paths
            if k != "untouched"
        }
        if "adapter_on" in found:
            found["adapter_on"]["scores"] = self._score_difference(
                name, limited, paths["adapter_on"], paths["untouched"]
            )
        write_json(folder / "forgetting.json", found)

    def _score_difference(self, name: str, questions: Questions, first: Path, second: Path) -> dict[str, Any] | None:
        """Paired comparison of two runs by the benchmark's rule; None where it cannot be scored without a judge."""
        section = self.config.benchmarks[name]
        if get_rule(questions.benchmark, section.rule).needs_judge and self.judge is None:
            return None
        scores = [self._scored(name, path, questions) for path in (first, second)]
        return compare(*scores, allow_partial=True).to_dict()


def _compared(path: Path, reference: Path, name: str, frozen: bool) -> Forgetting:
    answers, backbone = (read_predictions(p, name) or [] for p in (path, reference))
    return forgetting([(a.id, a.response or "") for a in answers], [(a.id, a.response or "") for a in backbone], frozen)


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in options.items() if v is not None}
