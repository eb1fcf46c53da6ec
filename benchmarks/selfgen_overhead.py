"""What self-generation costs beside the LLM: rows a second and memory with an engine that answers at once.

    python benchmarks/selfgen_overhead.py --cuts 10000 100000

For each size, in a process of its own: a lazy manifest of that many cuts, all the rest as in production (prompts drawn
from the shipped pools, filters, work log with fsync, sealing). Prints rows a second over the whole run, with the time
to read the manifest twice (ids made unique, fingerprint) and to seal the files, and the peak memory of the process.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

from nemo_desta.selfgen import run_selfgen
from nemo_desta.selfgen.backends import Generation, Request, Sampling


class NullBackend:
    """Answers at once, with the same sentence."""

    id = "null"
    revision = None

    def prompt_length(self, request: Request) -> int:
        """In characters."""
        return len(request.substitutes[0])

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """See `Backend.generate`."""
        return [Generation("A voice speaks about everyday things.", "stop", 8) for _ in requests]


def write_manifest(folder: Path, count: int) -> Path:
    """`count` cuts of one second about one empty file."""
    (folder / "a.wav").touch()
    path = folder / "cuts.jsonl"
    with path.open("w", encoding="utf-8") as out:
        for i in range(count):
            out.write(json.dumps(_cut(i)) + "\n")
    return path


def _cut(number: int) -> dict:
    source = {"type": "file", "channels": [0], "source": "a.wav"}
    recording = {"id": f"r{number}", "sources": [source], "sampling_rate": 16000, "num_samples": 16000, "duration": 1.0}
    supervision = {
        "id": f"s{number}", "recording_id": f"r{number}", "start": 0.0, "duration": 1.0, "channel": 0,
        "text": f"Sentence number {number}.", "gender": ("female", "male")[number % 2], "language": "English",
    }  # fmt: skip
    return {
        "id": f"cut-{number}", "start": 0, "duration": 1.0, "channel": 0, "type": "MonoCut",
        "supervisions": [supervision], "recording": {**recording, "channel_ids": [0]},
    }  # fmt: skip


def measure(count: int) -> dict[str, float]:
    """One run over `count` cuts: rows, seconds, peak memory in GB."""
    with tempfile.TemporaryDirectory() as folder:
        cuts = write_manifest(Path(folder), count)
        started = time.perf_counter()
        summary = run_selfgen(
            cuts, Path(folder) / "out", backend=NullBackend(), batch_size=512, sync_every=512, progress=False
        )
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {
        "rows": summary.total,
        "seconds": round(seconds, 1),
        "rows/s": round(summary.total / seconds),
        "peak GB": round(peak, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cuts", type=int, nargs="+", default=[10_000, 100_000])
    for count in parser.parse_args().cuts:
        with get_context("spawn").Pool(1) as pool:  # memory of each size by itself
            print(json.dumps(pool.apply(measure, (count,))), flush=True)


if __name__ == "__main__":
    main()
