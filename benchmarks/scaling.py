"""How the time and memory of a step grow with what is in it, ours beside the plain one: measured, estimated, drawn.

    python -m benchmarks.scaling     # about five minutes; docs/images/scaling*.png and docs/results/scaling.md

Random weights: an LLM of 4 layers, an encoder of half of Whisper tiny's width, a Q-Former of 2 layers without
dropout; 4 clips of 10 s, a target of 60 tokens each, 32 queries, hidden size 256 of the LLM, unless it is this that
grows. Time is the best of several steps that both ways take in turn; its floor is the operations that
nemo_desta.training.cost counts, at the rate of this machine's matrix products. Memory is the process' peak beyond
what it held before the step, gradients included, beside the estimate of nemo_desta.training.cost (ours) and of
benchmarks.plain_memory (plain).
"""

import argparse
import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import torch

from benchmarks import workloads
from benchmarks.models import WHISPERS, build
from benchmarks.phases import Phases
from benchmarks.plain_memory import plain_peak
from benchmarks.scaling_plots import draw
from benchmarks.train_step import matrix_peak
from benchmarks.ways import Ours, Plain, Way
from nemo_desta.training import memory
from nemo_desta.training.cost import Memory, weights

CPU = torch.device("cpu")
GB, GFLOP = 1e9, 1e9
EARS = {**WHISPERS["tiny"], "d_model": 192, "encoder_attention_heads": 3, "encoder_ffn_dim": 768}
BASE = {"batch": 4, "seconds": 10.0, "targets": 60, "queries": 32, "hidden": 256}
SWEEPS = {
    "batch": ("batch size, records", [2, 4, 8]),
    "seconds": ("clip length, s", [1.0, 15.0, 30.0]),
    "targets": ("target length, tokens", [20, 100, 240]),
    "queries": ("queries", [16, 64, 128]),
    "hidden": ("hidden size of the LLM", [128, 384, 768]),
}
LAYERS = 4
WAYS = ("nemo_desta", "plain")
_MMAP_THRESHOLD = -3
"""Of mallopt: blocks as large as this are given back as soon as they are freed."""


@dataclass
class Point:
    """Of a step, by way: seconds, operations, bytes beyond what was held before it, and the estimate of these bytes."""

    value: float
    tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    operations: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)
    estimate: dict[str, float] = field(default_factory=dict)


def llm(hidden: int) -> dict:
    heads = hidden // 64
    return {
        "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": LAYERS,
        "num_attention_heads": heads, "num_key_value_heads": heads, "vocab_size": 49152, "tie_word_embeddings": True,
    }  # fmt: skip


def ways(setting: dict) -> tuple[Ours, Plain]:
    model = build(llm(setting["hidden"]), EARS, setting["queries"], 2, 0.0)
    options = argparse.Namespace(device="cpu", dtype="float32", checkpoint=[])
    phases = Phases(CPU, on=False)
    plain = Plain(model, options, phases)  # copies the connector before ours watches it
    return Ours(model, options, phases), plain


def records(renderer, setting: dict) -> list:
    """A record a clip, all of one length; the transcript has 20 tokens however long the clip is."""
    said = workloads.words(renderer, 20, Random(0))
    return [
        workloads.example(renderer, i, f"c{i}", setting["seconds"], setting["targets"], said, "What do you hear?")
        for i in range(int(setting["batch"]))
    ]


def step(way: Way, batch) -> float:
    """Seconds of one step."""
    way.reset()
    way.train(iter([batch]))
    return way.seconds


def peak(way: Way, batch) -> float:
    """Bytes that a step takes beyond what is held before it."""
    gc.collect()
    with _freed_at_once():
        memory.watch(CPU)
        before = memory.in_use(CPU)
        step(way, batch)
        return memory.high_water(CPU) - before


@contextmanager
def _freed_at_once() -> Iterator[None]:
    """Give freed memory back to the system, that it is not taken for memory in use; too slow while time is taken."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc_trim(0)
    libc.mallopt(_MMAP_THRESHOLD, 1 << 18)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, 1 << 25)  # where glibc's own rule ends


def estimates(ours: Ours, setting: dict, batch: dict, length: int) -> dict[str, float]:
    """Bytes beyond the weights and AdamW's averages, by way; gradients, made within the step, are counted."""
    model = Memory(ours.shape, *weights([ours.model]), dropout=False)
    work = ours.size(batch)[2]
    own = model.peak(work.clips, work.rest[0], work.targets)
    plain = plain_peak(model, int(setting["batch"]), length)
    held = model.fixed - 4.0 * model.trainable
    return {"nemo_desta": own - held, "plain": plain - held}


@cache
def measure(repeat: int, **setting: float) -> Point:
    ours, plain = ways(setting)
    examples = records(ours.model.renderer, setting)
    single = examples[:1]
    pad = plain.step.pad
    batches = {ours: workloads.pack(examples, pad), plain: examples}
    point = Point(0.0, max(len(e.rendered.input_ids) for e in examples))
    for way, first in ((ours, workloads.pack(single, pad)), (plain, single)):
        step(way, first)  # makes AdamW's averages
        point.bytes[way.name] = peak(way, batches[way])
        point.operations[way.name] = sum(way.operations.values())
    for _ in range(repeat):
        for way, batch in batches.items():
            point.seconds[way.name] = min(step(way, batch), point.seconds.get(way.name, float("inf")))
    point.estimate = estimates(ours, setting, batches[ours], point.tokens)
    return point


def sweep(name: str, repeat: int) -> Iterator[Point]:
    for value in SWEEPS[name][1]:
        point = measure(repeat, **{**BASE, name: value})  # the point that all sweeps share is measured once
        yield Point(value, point.tokens, point.seconds, point.operations, point.bytes, point.estimate)


def table(results: dict[str, list[Point]]) -> Iterator[str]:
    yield "| grows | to | tokens | s: ours | plain | gain | 10^9 operations: ours | plain | gain "
    yield "| GB: ours | estimated | plain | estimated | gain |"
    yield "|" + "---|" * 14
    for name, points in results.items():
        for p in points:
            (s, t), (o, q), (b, c), (e, f) = (
                [of[w] for w in WAYS] for of in (p.seconds, p.operations, p.bytes, p.estimate)
            )
            time = f"{s:.2f} | {t:.2f} | {t / s:.2f}x | {o / GFLOP:,.0f} | {q / GFLOP:,.0f} | {q / o:.2f}x"
            space = f"{b / GB:.2f} | {e / GB:.2f} | {c / GB:.2f} | {f / GB:.2f} | {c / b:.2f}x"
            yield f"| {SWEEPS[name][0]} | {p.value:g} | {p.tokens} | {time} | {space} |"


def report(results: dict[str, list[Point]], rate: float, options: argparse.Namespace) -> Iterator[str]:
    yield "# How a training step grows"
    yield ""
    threads = torch.get_num_threads()
    base = f"{BASE['batch']} clips of {BASE['seconds']:g} s, {BASE['targets']} target tokens, {BASE['queries']} queries"
    yield f"`python -m benchmarks.scaling`: {threads} CPU threads, float32, random weights. Where it is not what grows:"
    yield f"{base}, an LLM of {LAYERS} layers of {BASE['hidden']}. Both ways in turn"
    yield f"in one run, the best of {options.repeat} steps. The floor in the picture is the counted operations at the rate that"
    yield f"matrix products reached in this run, {rate / GFLOP:.0f} GFLOP/s. GB are beyond weights and AdamW's averages, measured"
    yield "and estimated from shapes. Each clip has one record here: what sharing a clip among its records saves comes on"
    yield "top (`benchmarks.train_step`)."
    yield ""
    yield "A longer clip costs nothing but its transcript, which is the same here: Whisper hears windows of 30 s."
    yield ""
    first, second, *rest = table(results)
    yield first + second
    yield from rest
    yield ""
    yield "![seconds a step](../images/scaling.png)"
    yield ""
    yield "![memory of a step](../images/scaling_memory.png)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sweeps", nargs="+", choices=sorted(SWEEPS), default=list(SWEEPS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--image", type=Path, default=Path("docs/images/scaling.png"), help="and <name>_memory beside it"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/results/scaling.md"))
    options = parser.parse_args()
    rate, results = 0.0, {}
    for name in options.sweeps:
        rate = max(rate, matrix_peak(CPU, torch.float32))
        results[name] = list(sweep(name, options.repeat))
        print(name, *(f"{p.value:g}: {p.seconds} {p.bytes}" for p in results[name]), sep="\n  ", flush=True)
    draw(results, {name: label for name, (label, _) in SWEEPS.items()}, rate, options.image)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join([*report(results, rate, options), ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
