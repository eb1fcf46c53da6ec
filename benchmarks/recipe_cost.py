"""What DeSTA2.5's own recipe costs: operations and memory counted from shapes; GPU-hours at a utilisation.

    python -m benchmarks.recipe_cost                     # prints Markdown, writes docs/results/recipe_cost.md
    python -m benchmarks.recipe_cost --utilisation 0.3 --peak-tflops 312 --together 4

An estimate, not a measurement: nothing runs. The operations are those that tests/models/test_operations.py holds
against PyTorch's own counter.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import LLMS, WHISPERS
from benchmarks.plain_memory import plain_peak
from nemo_desta.training.cost import EncoderShape, LLMShape, Memory, ModelShape, QFormerShape, Work

__all__ = ["BATCH", "SAMPLES", "Sample", "model_shape", "packed"]

SAMPLES, EPOCHS, BATCH, GPUS, HOURS = 4_963_845, 5, 12, 8, 7000
TRAINABLE, FROZEN = 131.5e6, {"LLM": 8.03e9, "encoder": 0.637e9}
TFLOP, GFLOP, GB = 1e12, 1e9, 1e9


@dataclass(frozen=True)
class Sample:
    """Mean sizes of a record in tokens.

    Attributes:
        tokens: that the LLM sees, queries and transcript included.
        padded: length of a row in a random batch of 12.
        targets: of `tokens`.
        constant: of `tokens`, before the clip: the same in every record.
    """

    name: str
    tokens: int
    padded: int
    targets: int
    constant: int


LENGTHS = {
    "full": Sample("full length", 296, 405, 97, 50),
    "cut": Sample("cut at 300 tokens, as released", 268, 300, 69, 50),
}


def model_shape() -> ModelShape:
    """Llama-3.1-8B, Whisper large-v3, 6 layers of 64 queries on 4 taps."""
    llm, ears = LLMS["8b"], WHISPERS["large-v3"]
    hidden, heads = llm["hidden_size"], llm["num_attention_heads"]
    return ModelShape(
        LLMShape(
            llm["num_hidden_layers"], hidden, llm["intermediate_size"], heads,
            llm["num_key_value_heads"], hidden // heads, llm["vocab_size"],
        ),
        EncoderShape(ears["encoder_layers"], ears["d_model"], ears["encoder_ffn_dim"], ears["num_mel_bins"]),
        QFormerShape(6, 64, 4, ears["d_model"], hidden),
    )  # fmt: skip


def packed(sample: Sample, together: float, rows: int = BATCH) -> Work:
    """A batch of ours: the constant opening once, a clip once for its `together` records in the batch."""
    constant, own = sample.constant, sample.tokens - sample.constant
    keys = rows * (own * constant + own * (own + 1) / 2)
    return Work(rows / together, (constant, constant * (constant + 1) / 2), (rows * own, keys), rows * sample.targets)


def works(sample: Sample, together: float) -> dict[str, Work]:
    """A batch by way."""
    return {
        "plain": Work.of_padded(BATCH, sample.padded, BATCH),
        "ours": packed(sample, 1),
        f"ours, {together:g} records a clip": packed(sample, together),
    }


def assumptions(options: argparse.Namespace) -> Iterator[str]:
    yield "| factor | value |"
    yield "|---|---|"
    rows = {
        "samples in an epoch": f"{SAMPLES:,}",
        "epochs": f"{EPOCHS}",
        "samples in a batch of a GPU": f"{BATCH}",
        "GPUs": f"{GPUS}",
        "optimizer steps": f"{SAMPLES:,} x {EPOCHS} / ({BATCH} x {GPUS}) = {SAMPLES * EPOCHS / BATCH / GPUS:,.0f}",
        "mean clip": f"{HOURS:,} h / {SAMPLES:,} = {HOURS * 3600 / SAMPLES:.1f} s, encoded as a window of 30 s",
        "GPU": f"{options.peak_tflops:g} TFLOP/s in bf16 (dense)",
        "utilisation": f"{options.utilisation:.0%}, assumed for every part and for both ways",
    }
    for sample in LENGTHS.values():
        rows[f"tokens, {sample.name}"] = (
            f"{sample.tokens} a sample ({sample.constant} before the clip, {sample.targets} targets); "
            f"rows padded to {sample.padded} (x {sample.padded / sample.tokens:.2f})"
        )
    yield from (f"| {name} | {value} |" for name, value in rows.items())


def units(shape: ModelShape) -> Iterator[str]:
    """What one token, one pair of places, one clip costs."""
    llm, encoder, connector = shape.llm, shape.encoder, shape.qformer
    pair = 4 * llm.layers * llm.heads * llm.head_dim
    each = {
        "LLM forward, a token": (
            2 * llm.layers * llm.layer_weights,
            f"2 x {llm.layers} layers x {llm.layer_weights:,}",
        ),
        "LLM backward, a token": (2 * llm.layers * llm.layer_weights, "the same: its weights are frozen"),
        "attention forward, a token and a key": (pair, f"4 x {llm.layers} x {llm.heads} heads x {llm.head_dim}"),
        "attention backward, a token and a key": (2 * pair, "twice that"),
        "logits, a token": (2 * llm.head(1), f"forward and back, each 2 x {llm.hidden:,} x {llm.vocab:,}"),
        "encoder, a clip": (encoder.forward(1), f"{encoder.layers} layers of {encoder.size}, 1,500 states"),
        "Q-Former forward, a clip": (connector.forward(1), "4 taps x 6 layers, 64 queries"),
        "Q-Former backward, a clip": (connector.backward(1), "twice that, without the encoder's states"),
    }
    yield "| operations for | 10^9 | |"
    yield "|---|---|---|"
    for name, (operations, how) in each.items():
        yield f"| {name} | {operations / GFLOP:,.4g} | {how} |"


def counts(options: argparse.Namespace) -> Iterator[str]:
    yield "| batch of 12 | clips | tokens without gradient | tokens with gradient | tokens x keys | logits |"
    yield "|---|---|---|---|---|---|"
    for sample in LENGTHS.values():
        for way, w in works(sample, options.together).items():
            numbers = w.clips, w.constant[0], w.rest[0], w.constant[1] + w.rest[1], w.targets
            yield f"| {way}; {sample.name} | " + " | ".join(f"{n:,.0f}" for n in numbers) + " |"


def costs(shape: ModelShape, options: argparse.Namespace) -> Iterator[str]:
    rate = options.peak_tflops * TFLOP * options.utilisation
    yield "| 10^12 operations a sample | encoder | Q-Former | LLM forward | LLM backward, logits | all "
    yield f"| s a step | GPU-hours | hours on {GPUS} GPUs | plain / this |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for sample in LENGTHS.values():
        first = None
        for way, work in works(sample, options.together).items():
            parts = [v / BATCH / TFLOP for v in work.operations(shape).values()]
            hours = sum(parts) * TFLOP * SAMPLES * EPOCHS / rate / 3600
            first = first or hours
            cells = " | ".join(f"{p:.2f}" for p in [*parts, sum(parts)])
            step = sum(parts) * TFLOP * BATCH / rate
            times = f"{step:.2f} | {hours:,.0f} | {hours / GPUS:,.0f} | {first / hours:.2f}x"
            yield f"| {way}; {sample.name} | {cells} | {times} |"


def memory(shape: ModelShape) -> Iterator[str]:
    sample, frozen = LENGTHS["full"], 2 * sum(FROZEN.values())
    yield "| step | frozen weights | trainable, gradients, AdamW | activations | all, GB |"
    yield "|---|---|---|---|---|"
    plain = Memory(shape, int(frozen), int(TRAINABLE), 2, dropout=True, gpu=True)
    peaks = {"plain": plain_peak(plain, BATCH, sample.padded)}
    for parts in ((), ("llm",), ("connector",), ("llm", "connector")):
        chosen = {f"checkpoint_{part}": True for part in parts}
        estimate = Memory(shape, int(frozen), int(TRAINABLE), 2, dropout=True, gpu=True, **chosen)
        name = ", ".join(["ours", *chosen])
        peaks[name] = estimate.peak(BATCH, BATCH * (sample.tokens - sample.constant), BATCH * sample.targets)
    for name, peak in peaks.items():
        activations = (peak - plain.fixed) / GB
        yield f"| {name} | {frozen / GB:.1f} | {16 * TRAINABLE / GB:.1f} | {activations:.1f} | {peak / GB:.1f} |"


def report(options: argparse.Namespace) -> Iterator[str]:
    shape = model_shape()
    yield "# What DeSTA2.5's recipe costs: an estimate"
    yield ""
    yield "Counted from shapes, not measured: nothing of this ran on a GPU (`python -m benchmarks.recipe_cost`)."
    yield "Llama-3.1-8B, Whisper large-v3, a Q-Former of 6 layers with 64 queries on 4 taps. *Plain* is the step as the"
    yield "official code takes it: padded rows, logits everywhere, every clip encoded for each of its samples."
    yield ""
    yield from assumptions(options)
    yield ""
    yield from units(shape)
    yield ""
    yield from counts(options)
    yield ""
    yield "Unit costs times counts, summed and divided by 12:"
    yield ""
    first, second, *rest = costs(shape, options)
    yield first + second
    yield from rest
    yield ""
    formula = f"{SAMPLES:,} x {EPOCHS} / ({options.peak_tflops:g}e12 x {options.utilisation:g}) / 3600"
    yield f"GPU-hours = operations a sample x {formula}."
    yield "The gain is one of operations; eager attention also lowers the utilisation of the plain step, which is not counted"
    yield "here. Validation, checkpoints and failures are left out. Each clip's 30 s window costs the encoder the same."
    yield ""
    yield "Peak memory of a GPU: bf16 weights, the connector in float32, 12 samples of full length with a clip each."
    yield ""
    yield from memory(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--together", type=float, default=2, help="records about one clip in a batch")
    parser.add_argument("--utilisation", type=float, default=0.4)
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="bf16 without sparsity; 989 for an H100 SXM")
    parser.add_argument("--output", type=Path, default=Path("docs/results/recipe_cost.md"))
    options = parser.parse_args()
    text = "\n".join(report(options)) + "\n"
    print(text, end="")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
