"""Self-generation: cuts in, DeSTA records out, each row exactly once.

    cuts -> seed description + prompt (pure functions of seed, cut, draw) -> backend -> filters -> work log -> files

Rows are worked on in windows of fixed size, sorted by length inside, in batches of fixed composition: an interrupted
run makes the same batches again that it had not finished, so its rows equal those of an uninterrupted one.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nemo_desta import __version__
from nemo_desta.errors import RenderError, SelfGenError
from nemo_desta.record import AUDIO_LOCATOR, AudioRef, Message, Record
from nemo_desta.selfgen.backends import Backend, Generation, Request, Sampling
from nemo_desta.selfgen.backends.options import BackendOptions, backend_options
from nemo_desta.selfgen.config import SelfGenConfig, find_config, load_yaml
from nemo_desta.selfgen.filters import ResponseFilter
from nemo_desta.selfgen.plan import CutSource, audio_path
from nemo_desta.selfgen.prompts import Prompt, PromptPool, SystemPrompts, stable_hash
from nemo_desta.selfgen.seed import Seed, SeedFormatter
from nemo_desta.selfgen.writer import WorkLog, check_manifest, lock_directory, seal, write_json

__all__ = ["SCHEMA", "SelfGenConfig", "Summary", "run", "run_selfgen"]

SCHEMA = SelfGenConfig
_log = logging.getLogger(__name__)
_WINDOW_BATCHES = 16  # batches whose rows are sorted by length together


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        total: rows asked for; ok + filtered + failed equals it.
        reasons: why rows were filtered or failed, with counts.
        unknown_fields: metadata fields that the seed mapping does not know, with counts.
        seconds: of this process (a resumed run counts its own part); new_rows and new_tokens likewise.
        path: the finished records.
    """

    total: int
    ok: int
    filtered: int
    failed: int
    reasons: dict[str, int]
    unknown_fields: dict[str, int]
    seconds: float
    new_rows: int
    new_tokens: int
    path: str

    def __str__(self) -> str:
        rate = (
            f", {self.new_rows / self.seconds:.1f} rows/s and {self.new_tokens / self.seconds:.0f} tokens/s"
            if self.new_rows
            else ""
        )
        lines = [
            f"{self.path}: {self.ok} ok + {self.filtered} filtered + {self.failed} failed = {self.total} rows asked for",
            f"this run: {self.new_rows} rows in {self.seconds:.0f} s{rate}",
        ]
        lines += [
            f"  {count:6d}  {reason}" for reason, count in sorted(self.reasons.items(), key=lambda x: (-x[1], x[0]))
        ]
        if self.unknown_fields:
            lines.append(f"fields the seed mapping does not know (left out): {', '.join(sorted(self.unknown_fields))}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Row:
    id: str
    record: Record
    request: Request | None
    seed: Seed | None
    prompt: Prompt | None
    error: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


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
        output_dir: gets `<name>.jsonl`, `filtered/<name>.jsonl`, `failed/<name>.jsonl`, `manifest.json`, `summary.json`.
        backend: the name of an engine, its `backend` section, or any object with the `Backend` interface.
        settings: the other fields of `SelfGenConfig`.

    Returns:
        The summary; a directory that is complete already is left as it is.

    Raises:
        ConfigError: a setting or a YAML file is wrong.
        SelfGenError: the input is unusable, the directory is in use or was begun with another configuration, or more
            than `max_failed` of the rows failed. Finished rows stay.
    """
    paths = [str(cuts)] if isinstance(cuts, str | Path) else [str(c) for c in cuts]
    section = {"name": backend} if isinstance(backend, str) else dict(backend) if isinstance(backend, Mapping) else {}
    config = SelfGenConfig(cuts=paths, output_dir=str(output_dir), backend=section, **settings).checked()
    options = backend_options(section) if section else None
    with lock_directory(Path(config.output_dir)):
        return _Run(config, options or backend).execute()


class _Run:
    """One execution over one locked output directory."""

    def __init__(self, config: SelfGenConfig, backend: BackendOptions | Backend) -> None:
        self.config = config
        self.options = backend if isinstance(backend, BackendOptions) else None
        self.root = Path(config.audio_root or Path(config.cuts[0]).parent)
        self.formatter = SeedFormatter.from_yaml(find_config("seed", config.seed_config))
        self.pool = PromptPool.from_yaml([find_config("prompts", p) for p in config.pools], config.kind_weights)
        self.system = SystemPrompts.from_yaml(find_config("prompts", "system"), config.system_prompts)
        self.filter = ResponseFilter(load_yaml(find_config("filters", config.filter_config)))
        self.sampling = Sampling(config.temperature, config.top_p, config.max_new_tokens)
        self.source = CutSource(config.cuts)
        self.total = len(self.source) * config.prompts_per_cut
        self._backend = None if self.options else backend
        self.output = Path(config.output_dir)
        self.targets = {
            "ok": self.output / f"{config.name}.jsonl",
            "filtered": self.output / "filtered" / f"{config.name}.jsonl",
            "failed": self.output / "failed" / f"{config.name}.jsonl",
        }
        self.new_rows = self.new_tokens = self.failed = self.seen = 0
        self.last_error = ""

    @property
    def backend(self) -> Backend:
        """Loaded when first needed: finding out that all is done needs no LLM."""
        if self._backend is None:
            self._backend = self.options.build(self.config.llm, self.config.max_prompt_tokens)
        return self._backend

    def execute(self) -> Summary:
        check_manifest(self.output / "manifest.json", self._fixed())
        summary_path, log_path = self.output / "summary.json", self.output / ".work" / f"{self.config.name}.log"
        if summary_path.is_file() and self.targets["ok"].is_file():
            log_path.unlink(missing_ok=True)
            return Summary(**{**json.loads(summary_path.read_text(encoding="utf-8")), "new_rows": 0, "new_tokens": 0})
        started = time.monotonic()
        log = WorkLog(log_path, self.config.sync_every)
        if log.damaged:
            _log.warning("%s: %d damaged lines skipped; their rows are made again.", log_path, log.damaged)
        try:
            self._work(log)
            reasons = self._count_reasons(log)
            counts = seal(log, self._row_ids, self.targets)
        finally:
            log.close()
        if sum(counts.values()) != self.total:
            raise SelfGenError(
                f"{self.output}: {counts} do not add up to the {self.total} rows asked for; the input changed while it was worked on."
            )
        summary = Summary(
            self.total, counts["ok"], counts["filtered"], counts["failed"], reasons, dict(self.formatter.unknown),
            round(time.monotonic() - started, 3), self.new_rows, self.new_tokens, str(self.targets["ok"]),
        )  # fmt: skip
        write_json(summary_path, asdict(summary))
        log_path.unlink()
        return summary

    def _fixed(self) -> dict[str, Any]:
        """What the rows depend on."""
        c = self.config
        files = {
            f"{k}:{n}": stable_hash(find_config(k, n).read_text(encoding="utf-8"))
            for k, n in [("seed", c.seed_config), ("filters", c.filter_config), *(("prompts", p) for p in c.pools)]
        }
        return {
            "llm": c.llm if self.options else self._backend.id, "backend": self._identity(),
            "sampling": asdict(self.sampling), "seed": c.seed, "prompts_per_cut": c.prompts_per_cut, "pools": c.pools,
            "kind_weights": c.kind_weights, "system_prompts": self.system.texts, "files": files, "name": c.name, "dataset": c.dataset,
            "audio_root": c.audio_root, "max_prompt_tokens": c.max_prompt_tokens,
            "input": {"cuts": len(self.source), "fingerprint": self.source.fingerprint}, "version": __version__,
        }  # fmt: skip

    def _identity(self) -> dict[str, Any]:
        if self.options is None:
            return {"name": "custom"}
        return {
            "name": self.config.backend.get("name", "hf"),
            **{k: getattr(self.options, k) for k in self.options.decides},
        }

    def _row_ids(self) -> Iterator[str]:
        return (f"{name}-{draw}" for name, _ in self.source for draw in range(self.config.prompts_per_cut))

    def _work(self, log: WorkLog) -> None:
        pairs = ((name, cut, draw) for name, cut in self.source for draw in range(self.config.prompts_per_cut))
        bar = tqdm(
            total=self.total, unit="row", desc="self-generation", disable=not self.config.progress, mininterval=1.0
        )
        with bar:
            while window := list(islice(pairs, _WINDOW_BATCHES * self.config.batch_size)):
                ids = [f"{name}-{draw}" for name, _, draw in window]
                if all(i in log.done and i not in log.failed for i in ids):
                    self.seen += len(ids)
                    bar.update(len(ids))
                    continue
                self._window([self._row(*w) for w in window], log, bar)
                log.sync()
                self._check_failures()

    def _window(self, rows: list[_Row], log: WorkLog, bar: tqdm) -> None:
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
                self._store(log, row, Generation(error=error))
                bar.update()
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
                for row, answer in zip(batch, answers, strict=True):
                    self._store(log, row, answer)
            bar.update(len(batch))
        self.seen += len(rows)

    def _row(self, name: str, cut: Any, draw: int) -> _Row:
        row_id, c = f"{name}-{draw}", self.config
        empty = Record(id=row_id, messages=(), response="", dataset=c.dataset)
        try:
            seed = self.formatter(cut)
            audio = audio_path(cut, self.root)
        except SelfGenError as err:
            return _Row(row_id, empty, None, None, None, f"cut {cut.id!r}: {err}")
        prompt = self.pool.choose(c.seed, name, draw, seed.domain, seed.attributes)
        if prompt is None:
            return _Row(
                row_id,
                empty,
                None,
                seed,
                None,
                f"cut {cut.id!r}: no prompt of the pools fits domain {seed.domain} with {sorted(seed.attributes)}",
            )
        system_id, system = self.system.choose(c.seed, name, draw)
        user = Message(
            "user", f"<start_audio>{AUDIO_LOCATOR}<end_audio>\n\n{prompt.text}", (AudioRef(audio, seed.transcript),)
        )
        messages = ((Message("system", system),) if system else ()) + (user,)
        record = Record(row_id, messages, "", c.dataset, seed.text, prompt.text)
        request = Request(row_id, messages, (seed.text,), stable_hash("sampling", c.seed, name, draw))
        provenance = {
            "cut": name,
            "draw": draw,
            "pool": prompt.id.split("/")[0],
            "prompt_id": prompt.id,
            "kind": prompt.kind,
            "about": prompt.about,
            "system_prompt_id": system_id,
            "domain": seed.domain,
        }
        return _Row(row_id, record, request, seed, prompt, provenance=provenance)

    def _store(self, log: WorkLog, row: _Row, answer: Generation) -> None:
        if answer.error is not None:
            status, reason = "failed", answer.error
            self.failed += 1
            self.last_error = answer.error
        else:
            reason = self.filter(answer.text, answer.finish_reason, row.seed.attributes, row.prompt.about)
            status = "ok" if reason is None else "filtered"
        record = {**row.record.to_dict(), "response": answer.text}
        if answer.error is None:
            c = self.config
            record["provenance"] = {
                **row.provenance, "backbone": self.backend.id, "backbone_revision": self.backend.revision,
                "sampling": asdict(self.sampling), "seed": c.seed, "recipe": c.dataset, "package_version": __version__,
                "finish_reason": answer.finish_reason, "num_tokens": answer.num_tokens,
            }  # fmt: skip
        if log.append({"id": row.id, "status": status, "reason": reason, "record": record}):
            self.new_rows += 1
            self.new_tokens += answer.num_tokens

    def _check_failures(self) -> None:
        if self.seen and self.failed / self.seen > self.config.max_failed:
            raise SelfGenError(
                f"{self.failed} of {self.seen} rows failed, more than max_failed={self.config.max_failed:g} allows; the last: {self.last_error}. "
                "Repair the cause and start again (finished rows are kept), or raise max_failed."
            )

    def _count_reasons(self, log: WorkLog) -> dict[str, int]:
        reasons: Counter[str] = Counter()
        for row in log.rows(self._row_ids()):
            if row["status"] == "filtered":
                reasons[f"filtered: {row['reason']}"] += 1
            elif row["status"] == "failed":
                reasons["failed"] += 1
        return dict(reasons)
