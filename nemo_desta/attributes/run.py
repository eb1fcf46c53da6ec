"""Computed attributes: cuts in, the same cuts with measures and words out.

    cuts -> measuring pass (labellers, then numbers) -> work log -> thresholds -> words -> manifest

The work log stays: another call with the same directory measures only what failed or is missing, and words can be made
anew with other limits at once.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nemo_desta.attributes.config import AttributesConfig, WordRule
from nemo_desta.attributes.labellers import load_labellers
from nemo_desta.attributes.measure import MEASURES_VERSION
from nemo_desta.attributes.spans import Fields
from nemo_desta.attributes.words import Thresholds
from nemo_desta.attributes.work import Batch, audio_root, measured
from nemo_desta.attributes.writing import learn, write_cuts
from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.files import check_manifest, lock_directory, write_json
from nemo_desta.schema import from_dict
from nemo_desta.selfgen.closing import corpora_of
from nemo_desta.selfgen.config import find_config
from nemo_desta.selfgen.plan import CutSource
from nemo_desta.selfgen.prompts import stable_hash
from nemo_desta.selfgen.writer import WorkLog

__all__ = ["SCHEMA", "AttributesConfig", "AttributesSummary", "run", "run_attributes"]

SCHEMA = AttributesConfig
_log = logging.getLogger(__name__)
_SHOWN_FAILURES = 20
_FEWEST_JUDGED = 1000  # cuts, before the share of failed ones is judged; all of them in a smaller corpus


@dataclass(frozen=True)
class AttributesSummary:
    """What a run did.

    Attributes:
        total: cuts; ok + failed equals it.
        new: cuts measured by this run; the others were done before.
        words: field -> word -> spans that got it; `(stated)` by the corpus, `(none)` where it could not be said.
        notes: groups of clips that got no words, and why.
        seconds: of this run.
        path: the finished manifest.
    """

    total: int
    ok: int
    failed: int
    new: int
    words: dict[str, dict[str, int]]
    notes: list[str]
    seconds: float
    path: str

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.ok} ok + {self.failed} failed = {self.total} cuts; {self.new} measured now"]
        for name, counts in self.words.items():
            lines.append(f"  {name}: " + ", ".join(f"{word} {n}" for word, n in counts.items() if n))
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def run(cfg: Any) -> AttributesSummary:
    """Compute attributes from a composed configuration (conf/attributes.yaml); prints the summary."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(cfg, resolve=True) if not isinstance(cfg, dict) else cfg
    config = from_dict(AttributesConfig, plain)
    rules = {k: v if isinstance(v, WordRule) else from_dict(WordRule, v) for k, v in config.words.items()}
    summary = run_attributes(**{**{f.name: getattr(config, f.name) for f in fields_of(config)}, "words": rules})
    tqdm.write(str(summary))
    tqdm.write(f"next: nemo-desta selfgen cuts={summary.path} audio_root={audio_root(config)} output_dir=...")
    return summary


def run_attributes(
    cuts: str | Path | Sequence[str | Path], output_dir: str | Path, **settings: Any
) -> AttributesSummary:
    """Measure every cut, and write the cuts again with what was found.

    Args:
        cuts: manifest(s) of cuts, or of recordings with their supervisions beside them.
        output_dir: gets `<name>_cuts.jsonl.gz`, `failed.jsonl` (id, reason and cut), `thresholds.json`, `summary.json`.
        settings: the other fields of `AttributesConfig`.

    Returns:
        The summary.

    Raises:
        ConfigError: a setting or a YAML file is wrong.
        SelfGenError: the input is unusable, the directory is in use or was begun with another input, a labeller failed,
            or more than `max_failed` of the cuts did. What was measured stays.
    """
    paths = [str(cuts)] if isinstance(cuts, str | Path) else [str(c) for c in cuts]
    config = AttributesConfig(cuts=paths, output_dir=str(output_dir), **settings).checked()
    target = Path(config.output_dir) / f"{config.name}_cuts.jsonl.gz"
    for path in map(Path, paths):
        if path.is_dir():
            raise ConfigError(
                f"{path}: is a folder; give manifests of audio files (Shar folders are packed afterwards)."
            )
        if path.resolve() == target.resolve():
            raise ConfigError(f"{path}: is input and output; give another output_dir or name.")
    if config.thresholds is not None:
        Thresholds.from_file(config.thresholds, config.words)
    load_labellers(config.labellers)
    with lock_directory(Path(config.output_dir)):
        return _run(config)


def _run(config: AttributesConfig) -> AttributesSummary:
    started = time.monotonic()
    folder = Path(config.output_dir)
    fields, source = Fields(config.seed_config), CutSource(config.cuts)
    check_manifest(folder / "manifest.json", _fixed(config, source))
    log = WorkLog(folder / ".work" / f"{config.name}.log", config.sync_every)
    if log.damaged:
        _log.warning("%s: %d damaged lines skipped; their cuts are measured again.", log.path, log.damaged)
    try:
        new = _measure(config, source, log)
        thresholds = learn(config, source, log, fields)
        write_json(folder / "thresholds.json", thresholds.to_dict())
        tally = write_cuts(config, source, log, fields, thresholds)
    finally:
        log.close()
    if sum(tally.cuts.values()) != len(source):
        raise SelfGenError(f"{folder}: {dict(tally.cuts)} do not add up to the {len(source)} cuts of the input.")
    words = {name: dict(_ordered(counts, config.words[name].words)) for name, counts in tally.words.items()}
    summary = AttributesSummary(
        len(source), tally.cuts["ok"], tally.cuts["failed"], new, words, list(thresholds.gaps()),
        round(time.monotonic() - started, 3), str(folder / f"{config.name}_cuts.jsonl.gz"),
    )  # fmt: skip
    known = [entry for entry in corpora_of(config.cuts) if entry["license"]]
    if known:  # beside the new manifest, as beside the old ones, for the dataset card
        card = {key: "; ".join(dict.fromkeys(e[key] for e in known if e[key])) for key in known[0]}
        write_json(folder / f"{config.name}_corpus.json", card)
    write_json(folder / "summary.json", asdict(summary))
    return summary


def _fixed(config: AttributesConfig, source: CutSource) -> dict[str, Any]:
    """What the work log depends on; words and limits may change."""
    seed = find_config("seed", config.seed_config).read_text(encoding="utf-8")
    return {
        "input": {"cuts": len(source), "fingerprint": source.fingerprint}, "measures": MEASURES_VERSION,
        "labellers": config.labellers, "domain": config.domain, "overwrite": config.overwrite, "name": config.name,
        "seed_config": stable_hash(seed), "batch_size": config.batch_size if config.labellers else None,
    }  # fmt: skip


def _ordered(counts: dict[str, int], words: Sequence[str]) -> Iterator[tuple[str, int]]:
    return ((word, counts[word]) for word in (*words, "(stated)", "(none)") if word in counts)


def _measure(config: AttributesConfig, source: CutSource, log: WorkLog) -> int:
    """The measuring pass, of cuts that are missing in the log or failed before; how many were measured now."""
    wanted = len(source) - len(log.done) + len(log.failed)
    seen = failed = 0
    bar = tqdm(total=wanted, unit="cut", desc="attributes", disable=not config.progress, mininterval=1.0)
    with bar:
        for rows in measured(config, _batches(config, source, log)) if wanted else ():
            for row in rows:
                if not log.append(row):
                    continue
                seen += 1
                bar.update()
                if row["status"] == "failed":
                    failed, last = failed + 1, row["reason"]
                    if failed <= _SHOWN_FAILURES:
                        _log.warning("%s", last)
            judged = max(len(log.done), min(len(source), _FEWEST_JUDGED))
            if failed > config.max_failed * judged:
                log.sync()
                raise SelfGenError(
                    f"{failed} of {len(log.done)} cuts failed, more than max_failed={config.max_failed:g} allows; the last: {last}. "
                    "Repair the cause and start again (what was measured is kept), or raise max_failed."
                )
    log.sync()
    return seen


def _batches(config: AttributesConfig, source: CutSource, log: WorkLog) -> Iterator[Batch]:
    """Batches that hold a cut to be measured. With labellers, which may mix a batch's clips, always the same ones."""
    cuts = iter(source)
    while batch := list(islice(cuts, config.batch_size)):
        needed = [(name, cut) for name, cut in batch if name not in log.done or name in log.failed]
        if needed:
            yield batch if config.labellers else needed
