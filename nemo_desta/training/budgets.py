"""`nemo-desta calibrate`: the largest batches that fit the memory, for each bucket of lengths.

On a GPU by trial: real training steps over the largest examples of the data. On a CPU by the estimate of `cost.Memory`,
which `budgets.trial=true` holds against one real step.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from nemo_desta.data.batch import collate, to_device
from nemo_desta.data.config import resolve_data_cfg
from nemo_desta.data.conversation import RenderingTokenizer
from nemo_desta.data.source import read_desta
from nemo_desta.errors import ConfigError
from nemo_desta.models.acceleration import AccelerationConfig, accelerate
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.nemo_sections import nemo_problems
from nemo_desta.schema import check
from nemo_desta.training import memory
from nemo_desta.training.config import BudgetConfig, TrainConfig
from nemo_desta.training.cost import Memory, shape_of, weights

__all__ = ["SCHEMA", "Bucket", "largest", "run"]

SCHEMA = TrainConfig
_LOG = logging.getLogger(__name__)
_GB = 1e9
_KEPT = 1.1
"""What allocators keep beside what is in use; measured: 0.9 to 1.14 with small models on a CPU."""
_SECOND_OF_SILENCE = np.zeros(16000, dtype=np.float32)  # the encoder pads every clip to 30 s


@dataclass(frozen=True)
class Bucket:
    """Result for the examples of up to `tokens` tokens.

    Attributes:
        examples: that fit into one batch; the batch size of the bucket.
        estimate, measured: bytes of such a step; measured is None where no step was taken.
    """

    tokens: int
    examples: int
    estimate: float
    measured: float | None


@dataclass(frozen=True)
class _Example:
    """What is sampled as one: a record, or a group of them about the same clips."""

    members: Sequence[Any]

    @property
    def tokens(self) -> int:
        return sum(len(m.rendered.input_ids) for m in self.members)

    @property
    def longest(self) -> int:
        return max(len(m.rendered.input_ids) for m in self.members)

    @property
    def targets(self) -> int:
        return sum(sum(m.rendered.target_mask) for m in self.members)

    @property
    def clips(self) -> int:
        return len({clip for m in self.members for clip in m.clips})


def run(cfg: DictConfig) -> list[Bucket]:
    """Find the largest batches that fit, and print them with the lines of YAML that set them.

    Args:
        cfg: a training YAML; its `budgets` section says what to look at.

    Raises:
        ConfigError: the configuration is wrong, there is no record to measure, or not even one example fits.
    """
    cfg = OmegaConf.create({"budgets": {}, "acceleration": {}, **cfg})
    check(OmegaConf.to_container(cfg, resolve=True), SCHEMA, "the training configuration", nemo_problems)
    options, data = BudgetConfig(**cfg.budgets), resolve_data_cfg(cfg.data)
    device = torch.device("cuda" if torch.cuda.is_available() and cfg.trainer.get("accelerator") != "cpu" else "cpu")
    model = DeSTAModel(cfg.model)
    accelerate(model, AccelerationConfig(**cfg.acceleration))
    examples = sorted(islice(_examples(data.train_ds, model), options.records), key=lambda e: e.tokens)
    if not examples:
        raise ConfigError("data.train_ds gives no record to measure; check its input_cfg and max_tokens.")
    precision = str(cfg.trainer.get("precision", "32-true"))
    bench = _Bench(model.to(device), device, precision, bool(data.get("packing")), cfg.acceleration)
    limit = options.limit_gb * _GB if options.limit_gb else (1 - options.headroom) * memory.available(device)
    found = [_bucket(bench, part, bound, limit, options) for part, bound in _buckets(examples, data.train_ds, options)]
    sys.stdout.write(_report(found, limit, device, len(examples)))
    return found


def _examples(train_ds: DictConfig, model: DeSTAModel) -> Iterator[_Example]:
    tokenizer = RenderingTokenizer(model.renderer)
    for entry in (e for e in train_ds.input_cfg if e.get("type") == "desta"):
        for example in read_desta({**entry, "force_finite": True, "shuffle": False})[0]:
            tokenized = example.tokenize(tokenizer)
            members = [m for m in getattr(tokenized, "members", [tokenized]) if m.rendered]
            if members:
                yield _Example(members)


def _buckets(
    examples: list[_Example], train_ds: DictConfig, options: BudgetConfig
) -> Iterator[tuple[list[_Example], int]]:
    """Examples of each bucket, and its upper bound in tokens: the YAML's bounds, or those of equal numbers of examples."""
    bounds = [int(b) for b in train_ds.get("bucket_duration_bins") or []]
    if not bounds:
        parts = np.array_split(np.array([e.tokens for e in examples]), options.buckets)
        bounds = sorted({int(part[-1]) for part in parts if len(part)})
    below = 0
    for bound in bounds:
        inside = [e for e in examples if below < e.tokens <= bound]
        if inside:
            yield inside, bound
        else:
            _LOG.warning(
                "no example of %d to %d tokens among %d: this bucket has no result.", below + 1, bound, len(examples)
            )
        below = bound


def _bucket(bench: "_Bench", examples: list[_Example], bound: int, limit: float, options: BudgetConfig) -> Bucket:
    """The most examples like the largest of a bucket that fit."""
    worst = max(examples, key=lambda e: (e.tokens, e.targets))
    clips = max(e.clips for e in examples)
    guess = largest(lambda n: bench.estimate(n * clips, worst, n) <= limit, 1)
    on_trial = bench.device.type == "cuda" if options.trial == "auto" else options.trial
    count = guess
    if on_trial and bench.device.type == "cuda":
        count = largest(lambda n: bench.step(worst, n) <= limit, max(1, guess))
    if not count:
        raise ConfigError(
            f"one example of {worst.tokens} tokens takes more than the limit of {limit / _GB:.1f} GB; set acceleration.checkpoint_llm, "
            "lower data.train_ds.max_tokens, or take desta_fsdp2 on several GPUs."
        )
    measured = bench.step(worst, count) if on_trial else None
    return Bucket(bound, count, bench.estimate(count * clips, worst, count), measured)


def largest(fits: Callable[[int], bool], start: int) -> int:
    """The largest n for which `fits(n)` holds, 0 if it holds for none; it holds for all below one that it holds for.

    Args:
        start: where to look first; near the answer saves calls.
    """
    low, high = 0, max(1, start)
    while fits(high):
        low, high = high, high * 2
    if low == 0:  # too much at the start: come down in halves
        while high > 1 and not low:
            half = high // 2
            low, high = (half, high) if fits(half) else (0, half)
    while high - low > max(1, low // 50):  # within 2 %
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class _Bench:
    """A model whose training steps are estimated, or taken and measured."""

    def __init__(
        self, model: DeSTAModel, device: torch.device, precision: str, packed: bool, acceleration: Any
    ) -> None:
        self.model, self.device, self.packed = model, device, packed
        self.half = None if precision.startswith("32") else torch.float16 if precision[:2] == "16" else torch.bfloat16
        frozen, trainable = weights([model])
        checkpoints = {k: bool(acceleration.get(k)) for k in ("checkpoint_llm", "checkpoint_connector")}
        self.memory = Memory(
            shape_of(model), frozen, trainable, 4 if self.half is None else 2, model.config.connector.dropout > 0,
            device.type == "cuda", lora=model.config.lora is not None, **checkpoints,
        )  # fmt: skip
        self.loaded = (
            memory.in_use(device) + 12.0 * trainable
        )  # gradients and AdamW's averages come with the first step
        self.trains = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trains, lr=0.0)

    def estimate(self, clips: int, example: _Example, count: int) -> float:
        """Bytes of a step over `count` such examples."""
        tokens = example.tokens if self.packed else len(example.members) * example.longest
        step = self.memory.peak(clips, count * tokens, count * example.targets) - self.memory.fixed
        return self.loaded + _KEPT * step

    def step(self, example: _Example, count: int) -> float:
        """Bytes of a step over `count` copies of an example, each with clips of its own; infinity where memory runs out."""
        batch = to_device(self._batch(example, count), self.device)
        memory.watch(self.device)
        try:
            for _ in range(2):  # AdamW's averages are there from the second on
                with torch.autocast(self.device.type, self.half or torch.bfloat16, enabled=self.half is not None):
                    loss = self.model.training_step(batch, 0)["loss"]
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
        except torch.OutOfMemoryError:
            self.optimizer.zero_grad()
            torch.cuda.empty_cache()
            return float("inf")
        return memory.high_water(self.device)

    def _batch(self, example: _Example, count: int) -> dict:
        names = {clip: i for i, clip in enumerate(dict.fromkeys(c for m in example.members for c in m.clips))}
        own = [[names[c] for c in m.clips] for m in example.members]
        index = [[i + n * len(names) for i in clips] for n in range(count) for clips in own]
        rendered = [m.rendered for m in example.members] * count
        ids = [str(i) for i in range(len(rendered))]
        waves = [_SECOND_OF_SILENCE] * (count * len(names))
        return collate(rendered, waves, index, ids, self.model.renderer.eos_id, self.packed)


def _report(found: list[Bucket], limit: float, device: torch.device, seen: int) -> str:
    """A table, and the lines of YAML."""
    lines = [f"{seen} examples looked at; at most {limit / _GB:.1f} GB on {device.type}", ""]
    lines += [
        "| tokens up to | examples a batch | tokens a batch | estimate, GB | measured, GB |",
        "|---|---|---|---|---|",
    ]
    for b in found:
        measured = "" if b.measured is None else f"{b.measured / _GB:.2f}"
        lines.append(f"| {b.tokens} | {b.examples} | {b.tokens * b.examples} | {b.estimate / _GB:.2f} | {measured} |")
    bounds, sizes = [b.tokens for b in found], [b.examples for b in found]
    budget = min(b.tokens * b.examples for b in found)
    lines += ["", "data:", "  train_ds:", "    use_bucketing: true", f"    bucket_duration_bins: {bounds}"]
    lines += [
        f"    bucket_batch_size: {sizes}",
        "    batch_size: null",
        "",
        "or, for buckets or none, one budget for all:",
        "",
    ]
    return "\n".join(
        [*lines, "data:", "  train_ds:", f"    batch_tokens: {budget}", f"    batch_size: {max(sizes)}", ""]
    )
