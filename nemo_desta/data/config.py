"""The `data` section of a YAML: checked, and completed with what NeMo's loaders need to treat conversations right."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nemo_desta.data.shar import shar_shards
from nemo_desta.data.shards import expand_paths
from nemo_desta.data.source import FILE_KEYS, DeSTAInputConfig
from nemo_desta.errors import ConfigError
from nemo_desta.nemo_sections import DATALOADER, DATALOADERS, nemo_problems
from nemo_desta.schema import section, unknown_keys

__all__ = ["DataConfig", "check_shards", "is_streamed", "resolve_data_cfg"]

_SPLITS = ("train_ds", "validation_ds", "test_ds")


@dataclasses.dataclass
class DataConfig:
    """The `data` section."""

    train_ds: dict[str, Any] | None = section(DATALOADER, default=None)
    """NeMo's LhotseDataLoadingConfig: input_cfg, batch_size (or batch_tokens), max_tokens, shuffle, seed, num_workers, ..."""
    validation_ds: dict[str, Any] | None = section(DATALOADERS, default=None)
    """The same keys, shared by the sets under `datasets: {<name>: {input_cfg: ...}}`, which can override them."""
    test_ds: dict[str, Any] | None = section(DATALOADERS, default=None)
    """As validation_ds."""
    max_bad_share: float = 0.01
    """Share of records with unreadable audio above which the run stops; 0 stops at the first."""
    packing: bool = False
    """Put a whole batch into one row without padding, in which what conversations share (system prompt, clip) stands once:
    the same losses and gradients for less time and memory. For LLMs that attend through PyTorch's SDPA, as most do."""


def resolve_data_cfg(cfg: DictConfig | dict) -> DictConfig:
    """A checked copy of the `data` section in which every loader

    - measures conversations by their tokens (`use_multimodal_sampling`, `measure_total_length`),
    - drops what is left out (`min_tokens` of at least 1, see DeSTAConversation),
    - counts what exceeds its `max_tokens`, or what no batch takes (the `max_length` of the `desta` entries),
    - has one fixed shuffling seed for all ranks in place of NeMo's default, a random one a rank, which would repeat
      some records and lose others (streamed tar shards and Shar: one a worker, as they need it).

    Raises:
        ConfigError: unknown keys or impossible values; all of them at once.
    """
    data = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else copy.deepcopy(dict(cfg))
    problems = list(unknown_keys(data, {f.name for f in dataclasses.fields(DataConfig)}, "data"))
    for split in _SPLITS:
        part = data.get(split)
        if part is None:
            data.pop(split, None)
        elif split == "train_ds":
            problems += _resolve_loader(part, f"data.{split}", streaming=True)
        elif not part.get("datasets"):
            problems.append(f"data.{split} needs its sets under datasets: <name>: (a single one, too).")
        else:
            shared = {k: v for k, v in part.items() if k != "datasets"}
            problems += nemo_problems(DATALOADER, shared, f"data.{split}")
            for name, item in part["datasets"].items():
                merged = {**shared, **(item or {})}
                problems += _resolve_loader(merged, f"data.{split}.datasets.{name}", streaming=False)
                part["datasets"][name] = merged
    if problems:
        raise ConfigError("the data section is wrong:\n  " + "\n  ".join(dict.fromkeys(problems)))
    return OmegaConf.create(data)


def _resolve_loader(loader: dict, where: str, streaming: bool) -> Iterator[str]:
    yield from nemo_problems(DATALOADER, loader, where)
    if isinstance(loader.get("input_cfg"), str | Path):
        path = Path(loader["input_cfg"])
        if not path.is_file():
            yield f"{where}.input_cfg names {str(path)!r}, which is no file."
            return
        loader["input_cfg"] = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    if not loader.get("input_cfg"):
        yield f"{where} has no input_cfg; list its data there, such as [{{type: desta, manifest_filepath: train.jsonl}}]."
        return
    entries = list(_entries(loader["input_cfg"]))
    for number, entry in enumerate(e for e in entries if e.get("type") == "desta"):
        yield from unknown_keys(entry, _entry_keys(), f"{where}.input_cfg[{number}]")
        if entry.get("max_length") is None:
            entry["max_length"] = _longest(loader)
        if sum(entry.get(key) is not None for key in FILE_KEYS) != 1:
            yield f"{where}.input_cfg[{number}] needs one of manifest_filepath (JSONL), tarred_filepaths (tar shards) and shar_path (Lhotse Shar), and not both."
        if not isinstance(entry.get("together", 1), int) or entry.get("together", 1) < 1:
            yield f"{where}.input_cfg[{number}].together must be 1 or more, it is {entry['together']!r}."
    if all(e.get("type") == "desta" for e in entries):
        loader.pop("max_tokens", None)  # counted by us; NeMo's filter would count nothing, and take groups for records
    streamed = streaming and is_streamed(loader)
    if streamed and loader.get("num_workers", 0) < 1:
        yield f"{where}.num_workers must be at least 1 for tar shards and Shar: with 0, every rank would read the same stream."
    if loader.get("max_open_streams"):
        yield f"{where}.max_open_streams: entries have no end, so those that are opened first would be the only ones; leave it out."
    # True: a thread fills the buckets, and which batch comes next is a matter of time
    loader["concurrent_bucketing"] = loader.get("concurrent_bucketing") or False
    loader["min_tokens"] = max(1, loader.get("min_tokens") or 1)
    loader["use_multimodal_sampling"] = loader["measure_total_length"] = loader["pretokenize"] = True
    if loader.get("seed") is None:
        loader["seed"] = 42
    if loader.get("shard_seed", "trng") == "trng":
        loader["shard_seed"] = "randomized" if streamed else loader["seed"]


def _longest(loader: Mapping[str, Any]) -> int | None:
    """Tokens beyond which no batch takes a record: we count what NeMo would drop without a word, or overstep its budget for."""
    limits = [loader.get("max_tokens"), loader.get("batch_tokens")]
    bins = loader.get("bucket_duration_bins")
    if loader.get("bucket_batch_size") and bins and isinstance(bins[-1], int | float):
        limits.append(int(bins[-1]))
    return min(filter(None, limits), default=None)


def is_streamed(loader: Mapping[str, Any]) -> bool:
    """Whether records are read inside the workers: from tar shards or Shar, or because NeMo is told so."""
    entries = _entries(loader.get("input_cfg") or [])
    return bool(
        loader.get("force_iterable_dataset") or any(e.get("tarred_filepaths") or e.get("shar_path") for e in entries)
    )


def check_shards(data: DictConfig, ranks: int) -> None:
    """Refuse training data in fewer shards than there are workers on all ranks, before anything is loaded.

    Args:
        data: see resolve_data_cfg.
        ranks: processes that share the data.

    Raises:
        ConfigError: naming the entry; or streams that end, which some ranks would do before others.
        RecordError: a Shar folder is missing or holds no cuts.
    """
    loader = data.get("train_ds") or {}
    readers = ranks * loader.get("num_workers", 0)
    if ranks > 1 and loader.get("force_finite") and is_streamed(loader):
        raise ConfigError(
            "data.train_ds.force_finite: on several ranks streams must not end, some would before others."
        )
    for number, entry in enumerate(_entries(loader.get("input_cfg") or [])):
        paths = []
        if entry.get("tarred_filepaths"):
            paths = expand_paths(_plain(entry["tarred_filepaths"]))
        elif entry.get("shar_path"):
            paths = shar_shards(expand_paths(_plain(entry["shar_path"])))
        if paths and len(paths) < readers:
            raise ConfigError(
                f"data.train_ds.input_cfg[{number}] has {len(paths)} shards for {ranks} ranks with {loader.num_workers} "
                "workers each; write smaller shards (nemo-desta pack shard_size=...), or lower num_workers."
            )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _entries(input_cfg: list[dict]) -> Iterator[dict]:
    for entry in input_cfg:
        if entry.get("type") == "group":
            yield from _entries(entry["input_cfg"])
        else:
            yield entry


def _entry_keys() -> set[str]:
    return {f.name for f in dataclasses.fields(DeSTAInputConfig)} | {"shuffle", "shard_seed", "force_finite"}
