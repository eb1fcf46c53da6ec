"""How the time and memory of a step grow with what is in it, ours beside the plain path, drawn.

    python -m benchmarks.scaling          # about five minutes; writes docs/images/scaling.png and docs/results/scaling.md

Random weights: an LLM of 4 layers (hidden size 256 unless it is what grows), Whisper tiny's shape, a Q-Former of 2 layers, and unless
they grow 8 clips of 10 s, 60 target tokens, 32 queries. Time is the best of several steps taken in turn; memory is the process' peak
beyond what it held before the step; the dotted line is what nemo_desta.training.cost estimates.
"""

import argparse
import ctypes
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import matplotlib.pyplot as plt
import torch

from benchmarks import workloads
from benchmarks.models import WHISPERS, build
from benchmarks.phases import Phases
from benchmarks.train_step import Ours, Plain, Way
from nemo_desta.training import memory
from nemo_desta.training.cost import Memory, Work, weights

CPU = torch.device("cpu")
GB = 1e9
BASE = {"batch": 8, "seconds": 10.0, "targets": 60, "queries": 32, "hidden": 256}
SWEEPS = {
    "batch": ("clips in a batch", [2, 4, 8, 16]),
    "seconds": ("length of a clip, s", [1.0, 10.0, 20.0, 30.0]),
    "targets": ("target tokens a record", [20, 60, 120, 240]),
    "queries": ("queries", [16, 32, 64, 128]),
    "hidden": ("hidden size of the LLM", [128, 256, 512, 768]),
}


@dataclass
class Point:
    """Seconds and bytes of a step, by way; the estimate of our bytes."""

    value: float
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)
    estimate: float = 0.0


def llm(hidden: int) -> dict:
    heads = hidden // 64
    return {
        "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": 4, "num_attention_heads": heads,
        "num_key_value_heads": heads, "vocab_size": 49152, "tie_word_embeddings": True,
    }  # fmt: skip


def ways(setting: dict) -> tuple[Ours, Plain, list]:
    model = build(llm(setting["hidden"]), WHISPERS["tiny"], setting["queries"], 2, 0.0)
    options = argparse.Namespace(device="cpu", dtype="float32", checkpoint=[])
    phases = Phases(CPU, on=False)
    plain, ours = Plain(model, options, phases), Ours(model, options, phases)
    said = workloads.words(model.renderer, 20, Random(0))
    examples = [
        workloads.example(model.renderer, i, f"c{i}", setting["seconds"], setting["targets"], said, "What do you hear?")
        for i in range(setting["batch"])
    ]
    return ours, plain, examples


def step(way: Way, batch) -> float:
    """Seconds of one step."""
    way.reset()
    way.train(iter([batch]))
    return way.seconds


def peak(way: Way, batch) -> float:
    """Bytes that a step takes beyond what is held before it."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    memory.watch(CPU)
    before = memory.in_use(CPU)
    step(way, batch)
    return memory.high_water(CPU) - before


def measure(name: str, value: float, repeat: int) -> Point:
    ours, plain, examples = ways({**BASE, name: value})
    batches = {ours: workloads.pack(examples, plain.step.pad), plain: examples}
    point = Point(value)
    for way, batch in batches.items():
        step(way, batch)  # AdamW's state
        point.bytes[way.name] = peak(way, batch)
    for _ in range(repeat):
        for way, batch in batches.items():
            point.seconds[way.name] = min(step(way, batch), point.seconds.get(way.name, float("inf")))
    work = Work.of_packed(batches[ours])
    estimate = Memory(ours.shape, *weights([ours.model]), dropout=False)
    gradients = 4.0 * estimate.trainable
    point.estimate = estimate.peak(work.clips, work.rest[0], work.targets) - estimate.fixed + gradients
    return point


def draw(results: dict[str, list[Point]], path: Path) -> None:
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(2, len(results), figsize=(2.9 * len(results), 5.2), layout="constrained")
    colours = {"nemo_desta": "#1f6f8b", "plain": "#c0562f"}
    rows: list[tuple[str, Callable[[Point, str], float]]] = [
        ("seconds a step", lambda p, way: p.seconds[way]),
        ("GB beyond the weights", lambda p, way: p.bytes[way] / GB),
    ]
    for column, (name, points) in enumerate(results.items()):
        xs = [p.value for p in points]
        for row, (label, of) in enumerate(rows):
            axis = axes[row][column]
            for way, colour in colours.items():
                axis.plot(xs, [of(p, way) for p in points], "o-", color=colour, label=way, markersize=4)
            if row == 1:
                axis.plot(xs, [p.estimate / GB for p in points], ":", color="#1f6f8b", label="estimated")
            axis.set(xlabel=SWEEPS[name][0] if row else "", ylim=(0, None), xticks=xs)
            axis.set_xticks(xs, [f"{x:g}" for x in xs])
            axis.set_ylabel(label if column == 0 else "")
            axis.grid(axis="y", alpha=0.3)
    axes[1][0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def table(results: dict[str, list[Point]]) -> Iterator[str]:
    yield "Time and memory of a step as parts of it grow (`python -m benchmarks.scaling`, random weights, 2 CPU threads)."
    yield ""
    yield "| | | seconds: ours | plain | gain | GB beyond the weights: ours | plain | estimated |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, points in results.items():
        for p in points:
            s, b = p.seconds, p.bytes
            numbers = (s["nemo_desta"], s["plain"], s["plain"] / s["nemo_desta"], b["nemo_desta"] / GB, b["plain"] / GB)
            cells = "{:.2f} | {:.2f} | {:.2f}x | {:.2f} | {:.2f}".format(*numbers)
            yield f"| {SWEEPS[name][0]} | {p.value:g} | {cells} | {p.estimate / GB:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sweeps", nargs="+", choices=sorted(SWEEPS), default=list(SWEEPS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--image", type=Path, default=Path("docs/images/scaling.png"))
    parser.add_argument("--output", type=Path, default=Path("docs/results/scaling.md"))
    options = parser.parse_args()
    results = {}
    for name in options.sweeps:
        results[name] = [measure(name, value, options.repeat) for value in SWEEPS[name][1]]
        print(name, *(f"{p.value:g}: {p.seconds}" for p in results[name]), sep="\n  ", flush=True)
    draw(results, options.image)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join([*table(results), ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
