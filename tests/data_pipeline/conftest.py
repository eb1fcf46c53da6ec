"""A renderer over the tiny parity tokenizer and a small corpus of tones."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import AutoTokenizer

from nemo_desta.record import AudioRef, Message, Record, write_records
from nemo_desta.rendering import Renderer

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return Renderer(AutoTokenizer.from_pretrained(PARITY / "llm" / "tiny"), num_queries=4)


def tone(path: Path, frequency: float, seconds: float = 0.2, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * time), rate, subtype="FLOAT")


def record(number: int, audio: str | None, response: str = "A tone.") -> Record:
    if audio is None:
        return Record(f"r{number}", (Message("user", f"Say {number}."),), response)
    user = Message("user", f"<start_audio><|AUDIO|><end_audio>\n\nWhat is it? {number}", (AudioRef(audio, " "),))
    return Record(f"r{number}", (user,), response)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve records about six clips, `clips/<n>.wav`; two prompts a clip, next to each other."""
    for n in range(6):
        tone(tmp_path / "clips" / f"{n}.wav", 200 + 50 * n, 0.1 + 0.02 * n)
    write_records(
        tmp_path / "train.jsonl", [record(i, f"clips/{i // 2}.wav", "A tone." + " Yes." * (i % 4)) for i in range(12)]
    )
    return tmp_path
