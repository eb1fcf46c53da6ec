"""Self-generation: cuts in, DeSTA records out, each row exactly once.

    cuts -> seed description + prompt (pure functions of seed, cut, draw) -> backend -> filters -> work log -> files

Rows are worked on in windows of fixed size, sorted by length inside, in batches of fixed composition: an interrupted
run makes the same batches again that it had not finished, so its rows equal those of an uninterrupted one.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nemo_desta import __version__
from nemo_desta.errors import RenderError, SelfGenError
from nemo_desta.files import check_manifest, lock_directory, write_json
from nemo_desta.selfgen.backends import Backend, Generation, Sampling
from nemo_desta.selfgen.backends.engines import Engines
from nemo_desta.selfgen.backends.options import backend_options
from nemo_desta.selfgen.closing import DuplicateOptions, corpora_of, finish
from nemo_desta.selfgen.collector import rare_collection
from nemo_desta.selfgen.config import SelfGenConfig, find_config, load_yaml
from nemo_desta.selfgen.filters import ResponseFilter
from nemo_desta.selfgen.plan import CutSource
from nemo_desta.selfgen.prompts import stable_hash
from nemo_desta.selfgen.review import Outcome, Reviewer, ReviewOptions
from nemo_desta.selfgen.rows import Row, RowMaker
from nemo_desta.selfgen.summary import Summary
from nemo_desta.selfgen.writer import WorkLog, seal

__all__ = ["SCHEMA", "SelfGenConfig", "Summary", "run", "run_selfgen"]

SCHEMA = SelfGenConfig
_log = logging.getLogger(__name__)
_WINDOW_BATCHES = 16  # batches whose rows are sorted by length together


def run(cfg: Any) -> Summary:
    """Self-generation from a composed configuration (conf/desta_selfgen.yaml); prints the summary."""
    from omegaconf import OmegaConf

    from nemo_desta.schema import from_dict

    plain = OmegaConf.to_container(cfg, resolve=True) if not isinstance(cfg, dict) else cfg
    summary = run_selfgen(**asdict(from_dict(SelfGenConfig, plain)))
    tqdm.write(str(summary))
    return summary


def run_selfgen(
    cuts: str | Path | Sequence[str | Path],
    output_dir: str | Path,
    *,
    backend: Backend | Mapping[str, Any] | str = "hf",
    **settings: Any,
) -> Summary:
    """Let an LLM write the responses for every cut.

    Args:
        cuts: manifest(s); see `CutSource`.
        output_dir: gets `<name>.jsonl`, `filtered/<name>.jsonl`, `failed/<name>.jsonl`, `manifest.json`, `summary.json`;
            with `shard`, these names end in `-00000-of-00008`, until `merge_shards` makes one of all.
        backend: the name of an engine, its `backend` section, or any object with the `Backend` interface.
        settings: the other fields of `SelfGenConfig`.

    Returns:
        The summary, of this shard where there are shards; what is complete already is left as it is.

    Raises:
        ConfigError: a setting or a YAML file is wrong.
        SelfGenError: the input is unusable, the directory is in use or was begun with another configuration, or more
            than `max_failed` of the rows failed. Finished rows stay.
    """
    paths = [str(cuts)] if isinstance(cuts, str | Path) else [str(c) for c in cuts]
    config = SelfGenConfig(cuts=paths, output_dir=str(output_dir), **settings).checked()
    engine = backend_options(backend) if isinstance(backend, str | Mapping) else backend
    if config.engine == "ray":
        from nemo_desta.selfgen.cluster import run_on_ray

        return run_on_ray(config, engine)
    with lock_directory(Path(config.output_dir), config.suffix):
        return Run(config, Engines(config, engine)).execute()


class Run:
    """One execution over one output directory, or one shard of it, that the caller has locked.

    Args:
        config: checked.
        engines: loaded when they are needed; shards of the same run can share them.
        source: of the cuts, if they were looked through already.
        advance: told how many rows more are done; None: a bar on the console.
    """

    def __init__(
        self,
        config: SelfGenConfig,
        engines: Engines,
        source: CutSource | None = None,
        advance: Callable[[int], Any] | None = None,
    ) -> None:
        self.config = config
        self.advance = advance
        self.engines, self.options = engines, engines.options
        self.make_row = RowMaker(config)
        self.sampling = Sampling(config.temperature, config.top_p, config.max_new_tokens)
        rules, self.review_options = (
            load_yaml(find_config("filters", config.filter_config)),
            ReviewOptions.parse(config.review),
        )
        self.duplicates = DuplicateOptions.parse(rules["duplicates"]) if rules.get("duplicates") else None
        self.review = Reviewer(ResponseFilter(rules), self.review_options, lambda: self.engines.reviewer, self.sampling)
        self._sampling = asdict(self.sampling)
        self.source = source or CutSource(config.cuts)
        number, of = config.part
        self.span = (number * len(self.source) // of, (number + 1) * len(self.source) // of)  # cuts of this shard
        self.total = (self.span[1] - self.span[0]) * config.prompts_per_cut
        self.engine = self.options.name if self.options else "custom"
        self.output = Path(config.output_dir)
        self.targets = {
            "ok": self.output / f"{config.stem}.jsonl",
            "filtered": self.output / "filtered" / f"{config.stem}.jsonl",
            "failed": self.output / "failed" / f"{config.stem}.jsonl",
        }
        self.new_rows = self.new_tokens = self.failed = self.seen = 0
        self.last_error = ""

    @property
    def backend(self) -> Backend:
        """Writes the responses."""
        return self.engines.backbone

    def check_directory(self) -> None:
        """Begin the output directory, or see that it was begun with this configuration.

        Raises:
            SelfGenError: it was begun with another one.
        """
        check_manifest(self.output / "manifest.json", self._fixed())

    @rare_collection()
    def execute(self) -> Summary:
        """Make what is missing, and finish the directory if this is no shard."""
        self.check_directory()
        log_path = self.output / ".work" / f"{self.config.stem}.log"
        merged, own = self.output / "summary.json", self.output / f"summary{self.config.suffix}.json"
        summary_path = merged if merged.is_file() else own
        if summary_path.is_file() and (summary_path != own or self.targets["ok"].is_file()):
            log_path.unlink(missing_ok=True)
            summary = self._closed(Summary(**json.loads(summary_path.read_text(encoding="utf-8"))))
            return replace(summary, new_rows=0, new_tokens=0)
        write_json(self.output / "corpora.json", corpora_of(self.config.cuts))
        started = time.monotonic()
        log = WorkLog(log_path, self.config.sync_every)
        if log.damaged:
            _log.warning("%s: %d damaged lines skipped; their rows are made again.", log_path, log.damaged)
        try:
            self._work(log)
            counts, reasons = seal(log, self._row_ids, self.targets)
        finally:
            log.close()
        if sum(counts.values()) != self.total:
            raise SelfGenError(
                f"{self.output}: {counts} do not add up to the {self.total} rows asked for; the input changed while it was worked on."
            )
        summary = Summary(
            self.total, counts["ok"], counts["filtered"], counts["failed"], reasons, dict(self.make_row.formatter.unknown),
            round(time.monotonic() - started, 3), self.new_rows, self.new_tokens, str(self.targets["ok"]),
            self.make_row.unused_fields() if self.new_rows == self.total else [],
        )  # fmt: skip
        write_json(summary_path, asdict(summary))
        log_path.unlink()
        return self._closed(summary)

    def _closed(self, summary: Summary) -> Summary:
        """After the closing pass, which shards leave to their merge."""
        return finish(self.output) if self.config.shard is None else summary

    def _fixed(self) -> dict[str, Any]:
        """What the rows depend on."""
        c = self.config
        files = {
            f"{k}:{n}": stable_hash(find_config(k, n).read_text(encoding="utf-8"))
            for k, n in [("seed", c.seed_config), ("filters", c.filter_config), *(("prompts", p) for p in c.pools)]
        }
        if self.review_options.active:
            template = self.review_options.template
            files[f"judge:{template}"] = stable_hash(find_config("judge", template).read_text(encoding="utf-8"))
        return {
            "llm": c.llm if self.options else self.backend.id, "backend": self._identity(),
            "sampling": self._sampling, "seed": c.seed, "prompts_per_cut": c.prompts_per_cut, "pools": c.pools,
            "kind_weights": c.kind_weights, "system_prompts": self.make_row.system.texts, "files": files, "name": c.name, "dataset": c.dataset,
            "audio_root": c.audio_root, "max_prompt_tokens": c.max_prompt_tokens,
            "input": {"cuts": len(self.source), "fingerprint": self.source.fingerprint}, "version": __version__,
            "num_shards": c.part[1], "review": asdict(self.review_options),
            "duplicates": self.duplicates and asdict(self.duplicates),
        }  # fmt: skip

    def _identity(self) -> dict[str, Any]:
        if self.options is None:
            return {"name": "custom"}
        return {
            "name": self.options.name,
            **{k: getattr(self.options, k) for k in self.options.decides},
        }

    def _row_ids(self) -> Iterator[str]:
        return (
            f"{name}-{draw}"
            for name in self.source.names[slice(*self.span)]
            for draw in range(self.config.prompts_per_cut)
        )

    def _cuts(self) -> Iterator[tuple[str, Any]]:
        return self.source.part(*self.span)

    def _work(self, log: WorkLog) -> None:
        pairs = ((name, cut, draw) for name, cut in self._cuts() for draw in range(self.config.prompts_per_cut))
        bar = tqdm(
            total=self.total, unit="row", desc="self-generation", disable=not self.config.progress, mininterval=1.0
        )
        with bar:
            advance = self.advance or bar.update
            while window := list(islice(pairs, _WINDOW_BATCHES * self.config.batch_size)):
                ids = [f"{name}-{draw}" for name, _, draw in window]
                if all(i in log.done and i not in log.failed for i in ids):
                    self.seen += len(ids)
                    advance(len(ids))
                    continue
                self._window([self.make_row(*w) for w in window], log, advance)
                log.sync()
                self._check_failures()

    def _window(self, rows: list[Row], log: WorkLog, advance: Callable[[int], Any]) -> None:
        measured = []
        for row in rows:
            error, length = row.error, 0
            if error is None:
                try:
                    length = self.backend.prompt_length(row.request)
                except RenderError as err:
                    error = str(err)
            if error is None:
                measured.append((length, row))
            else:
                self._store(log, row, Outcome(Generation(error=error), error))
                advance(1)
        measured.sort(key=lambda x: x[0])  # stable: equal lengths stay in input order
        size = self.config.batch_size
        for start in range(0, len(measured), size):
            batch = [row for _, row in measured[start : start + size]]
            if not all(r.id in log.done and r.id not in log.failed for r in batch):
                answers = self.backend.generate([r.request for r in batch], self.sampling)
                if len(answers) != len(batch):
                    raise SelfGenError(
                        f"backend {self.backend.id}: {len(answers)} responses to {len(batch)} requests; it must give one each."
                    )
                for row, outcome in zip(batch, self.review(batch, answers), strict=True):
                    self._store(log, row, outcome)
            advance(len(batch))
        self.seen += len(rows)

    def _store(self, log: WorkLog, row: Row, outcome: Outcome) -> None:
        answer = outcome.answer
        if answer.error is not None:
            self.failed += 1
            self.last_error = outcome.reason
        record = {**row.record.to_dict(), "response": answer.text}
        if answer.error is None:
            c = self.config
            record["provenance"] = {
                **row.provenance, "backbone": self.backend.id, "backbone_revision": self.backend.revision,
                "engine": self.engine, "sampling": self._sampling, "seed": c.seed, "recipe": c.dataset,
                "package_version": __version__, "finish_reason": answer.finish_reason, "num_tokens": answer.num_tokens,
                **outcome.provenance,
            }  # fmt: skip
        if log.append({"id": row.id, "status": outcome.status, "reason": outcome.reason, "record": record}):
            self.new_rows += 1
            self.new_tokens += answer.num_tokens

    def _check_failures(self) -> None:
        if self.seen and self.failed / self.seen > self.config.max_failed:
            raise SelfGenError(
                f"{self.failed} of {self.seen} rows failed, more than max_failed={self.config.max_failed:g} allows; the last: {self.last_error.rstrip('.')}. "
                "Repair the cause and start again (finished rows are kept), or raise max_failed."
            )
