"""Records of wanted sizes for the benchmarks: noise as clips, words of the right number of tokens as texts.

Neither the LLM nor the encoder takes more or less time for sense.
"""

import json
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from nemo_desta.data.batch import collate
from nemo_desta.record import Record
from nemo_desta.rendering import Rendered, Renderer

__all__ = ["Example", "equal", "mixed", "packed_batches", "padded_batches", "wave_of", "write_corpus"]

RATE = 16_000
_SYSTEM = "Focus on the audio clips and respond directly to the prompts."
_PROMPTS = (
    "Who is speaking, and how do they sound?",
    "Describe what can be heard in a few sentences.",
    "What would be a fitting reply to the speaker?",
    "Summarise the recording for somebody who cannot listen to it.",
    "Does the voice fit what is being said? Explain.",
)
_SENTENCE = (
    "the voice sounds calm and a little tired while someone speaks slowly about plain things with low volume in "
    "a quiet room near water before the music begins again under a bright and steady rhythm that never quite stops"
)
_WORDS = _SENTENCE.split()


@dataclass(frozen=True)
class Example:
    """One record, as it stands in a file and as it is rendered; `seconds` of its clip."""

    record: dict
    rendered: Rendered
    clip: str
    seconds: float


def words(renderer: Renderer, tokens: int, random: Random) -> str:
    """A text of that many tokens."""
    text: list[str] = []
    while len(renderer.encode_text(" ".join(text))) < tokens:
        text.append(random.choice(_WORDS))
    return " ".join(text)


def example(
    renderer: Renderer, number: int, clip: str, seconds: float, target: int, transcript: str, prompt: str
) -> Example:
    user = {
        "role": "user",
        "content": f"<start_audio><|AUDIO|><end_audio>\n\n{prompt}",
        "audios": [{"audio": f"{clip}.wav", "text": transcript}],
    }
    response = words(renderer, target - 1, Random(number))
    messages = [{"role": "system", "content": _SYSTEM}, user]
    record = {"id": f"r{number}", "messages": messages, "response": response}
    parsed = Record.from_dict(record)
    return Example(record, renderer.render(parsed.messages, parsed.response), clip, seconds)


def equal(renderer: Renderer, count: int = 8, target: int = 45) -> list[Example]:
    """Clips of 5 s, one a record: about 150 tokens each with 64 queries, 45 of them targets."""
    said = words(renderer, 14, Random(0))
    return [example(renderer, i, f"equal{i}", 5.0, target, said, _PROMPTS[0]) for i in range(count)]


def mixed(renderer: Renderer, count: int = 256, seed: int = 0) -> list[Example]:
    """Clips of 1 to 30 s, two neighbouring records each; 2.5 tokens of transcript a second, targets of 10 to 200."""
    random, out = Random(seed), []
    for number in range(count):
        if number % 2 == 0:
            seconds = round(random.uniform(1, 30), 2)
            said = words(renderer, int(2.5 * seconds), random)
        clip, target = f"mixed{number // 2}", random.randint(10, 200)
        prompt = _PROMPTS[(number + number // 2) % len(_PROMPTS)]
        out.append(example(renderer, number, clip, seconds, target, said, prompt))
    return out


def wave_of(example: Example) -> np.ndarray:
    """Its clip, float32 (num_samples,): the same for the same name."""
    generator = np.random.default_rng(list(example.clip.encode()))
    return generator.normal(0, 0.1, round(example.seconds * RATE)).clip(-1, 1).astype(np.float32)


def write_corpus(folder: Path, examples: Sequence[Example]) -> Path:
    """train.jsonl and its clips as 16-bit WAV; returns the JSONL file."""
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(e.record) + "\n" for e in examples), encoding="utf-8")
    for example in {e.clip: e for e in examples}.values():
        with wave.open(str(folder / f"{example.clip}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((wave_of(example) * 32767).astype("<i2").tobytes())
    return path


def padded_batches(examples: Sequence[Example], size: int, seed: int = 0) -> list[list[Example]]:
    """Random batches, as the official code draws them."""
    order = list(examples)
    Random(seed).shuffle(order)
    return [order[i : i + size] for i in range(0, len(order), size)]


def packed_batches(examples: Sequence[Example], size: int, seed: int = 0) -> list[list[Example]]:
    """Random batches in which the records of a clip stay together, as with `together: 2`."""
    groups: dict[str, list[Example]] = {}
    for one in examples:
        groups.setdefault(one.clip, []).append(one)
    order = list(groups.values())
    Random(seed).shuffle(order)
    flat = [one for group in order for one in group]
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def pack(examples: Sequence[Example], pad: int) -> dict:
    """One packed batch, see data.batch.collate."""
    clips = {e.clip: e for e in examples}
    index = {name: i for i, name in enumerate(clips)}
    return collate(
        [e.rendered for e in examples],
        [wave_of(e) for e in clips.values()],
        [[index[e.clip]] for e in examples],
        [e.record["id"] for e in examples],
        pad,
        packed=True,
    )
