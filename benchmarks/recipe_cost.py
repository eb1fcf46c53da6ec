"""What DeSTA2.5's own recipe costs: operations and memory of its steps, counted from shapes, and GPU-hours at a stated utilisation.

    python -m benchmarks.recipe_cost                     # prints Markdown, writes docs/results/recipe_cost.md
    python -m benchmarks.recipe_cost --utilisation 0.3 --peak-tflops 312 --records-a-clip 4

An estimate, not a measurement: nothing runs. The counts are those that tests/models/test_operations.py holds against PyTorch's own.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.models import LLMS, WHISPERS
from nemo_desta.training.cost import EncoderShape, LLMShape, Memory, ModelShape, QFormerShape, Work

SAMPLES, EPOCHS, BATCH, GPUS = 4_963_845, 5, 12, 8
TRAINABLE, WEIGHTS = 131.5e6, {"LLM": 8.03e9, "encoder": 0.637e9}
TFLOP, GB = 1e12, 1e9


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


def packed(rows: int, constant: int, tokens: int, targets: int, records_a_clip: float) -> Work:
    """A batch of ours: the constant opening once, clips once for all their records in the batch."""
    own = tokens - constant
    keys = rows * (own * constant + own * (own + 1) / 2)
    return Work(rows / records_a_clip, (constant, constant * (constant + 1) / 2), (rows * own, keys), rows * targets)


def report(options: argparse.Namespace) -> Iterator[str]:
    shape = model_shape()
    rate = options.peak_tflops * TFLOP * options.utilisation
    length = round(options.tokens * options.padding)
    ways = {
        "plain: padded rows, logits everywhere": Work.of_padded(BATCH, length, BATCH),
        "ours, a clip in one record of a batch": packed(BATCH, options.constant, options.tokens, options.targets, 1),
        f"ours, `together: {options.together}`": packed(
            BATCH, options.constant, options.tokens, options.targets, options.together
        ),
    }
    yield "An estimate from counted operations, not a measurement (`python -m benchmarks.recipe_cost`)."
    yield ""
    yield f"Assumed: {SAMPLES:,} samples, {EPOCHS} epochs, {BATCH} a GPU; {options.tokens} tokens a sample, of them {options.targets} target"
    yield f"tokens and {options.constant} before the audio; padded rows {options.padding:.2f} times as long on average; {options.utilisation:.0%} of"
    yield f"{options.peak_tflops} TFLOP/s (bf16, dense). A sample in 10^12 operations:"
    yield ""
    yield "| | encoder | Q-Former | LLM forward | LLM backward, logits | all | GPU-hours | hours on 8 GPUs | gain |"
    yield "|---|---|---|---|---|---|---|---|---|"
    first = None
    for name, work in ways.items():
        parts = [v / BATCH / TFLOP for v in work.operations(shape).values()]
        hours = sum(parts) * TFLOP * SAMPLES * EPOCHS / rate / 3600
        first = first or hours
        cells = " | ".join(f"{p:.2f}" for p in [*parts, sum(parts)])
        yield f"| {name} | {cells} | {hours:,.0f} | {hours / GPUS:,.0f} | {first / hours:.2f}x |"
    yield ""
    yield f"GPU-hours = operations a sample x {SAMPLES:,} x {EPOCHS} / ({options.peak_tflops}e12 x {options.utilisation}) / 3600. The encoder costs the"
    yield "same for a clip of 1 s as for one of 30 s; what shares clips within a batch, or keeps its states on disk, saves that."
    yield ""
    yield from memory(shape, options)


def memory(shape: ModelShape, options: argparse.Namespace) -> Iterator[str]:
    frozen = 2 * sum(WEIGHTS.values())
    yield f"Memory of a GPU, bf16 weights, connector in float32, {BATCH} samples with a clip each:"
    yield ""
    yield "| acceleration | frozen weights | trainable, gradients, AdamW | activations | all, GB |"
    yield "|---|---|---|---|---|"
    settings = [
        {},
        {"checkpoint_llm": True},
        {"checkpoint_connector": True},
        {"checkpoint_llm": True, "checkpoint_connector": True},
    ]
    for setting in settings:
        estimate = Memory(shape, int(frozen), int(TRAINABLE), 2, True, True, **setting)
        peak = estimate.peak(BATCH, BATCH * (options.tokens - options.constant), BATCH * options.targets)
        name = ", ".join(setting) or "none"
        yield f"| {name} | {frozen / GB:.1f} | {16 * TRAINABLE / GB:.1f} | {(peak - estimate.fixed) / GB:.1f} | {peak / GB:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=220, help="of a sample, mean")
    parser.add_argument("--targets", type=int, default=90, help="of them target tokens")
    parser.add_argument("--constant", type=int, default=40, help="of them before the audio")
    parser.add_argument("--padding", type=float, default=1.12, help="length of padded rows over the mean")
    parser.add_argument("--together", type=float, default=2, help="records about a clip in a batch")
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
