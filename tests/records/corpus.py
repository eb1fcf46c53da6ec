"""Small records about tones."""

from pathlib import Path

import numpy as np
import soundfile

from nemo_desta.record import AudioRef, Message, Record, write_records

__all__ = ["record", "tone", "write_corpus"]


def tone(path: Path, number: int = 0, seconds: float = 0.1, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 10 * number) * time), rate, format="WAV")


def record(row_id: str, audios: list[str], response: str = "A tone.", **more) -> Record:
    content = " ".join(["<start_audio><|AUDIO|><end_audio>"] * len(audios)) + "\n\nWhat is it?"
    user = Message("user", content, tuple(AudioRef(a, " ") for a in audios))
    return Record(row_id, (user,), response, **more)


def write_corpus(folder: Path, count: int = 23) -> list[Record]:
    """`count` records about clips of different lengths, rates and formats; up to two neighbours share one."""
    records = []
    for i in range(count):
        name = f"clips/{i // 2}.{'flac' if i % 4 > 1 else 'wav'}"
        if not (folder / name).exists():
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            rate = (16_000, 8_000, 22_050)[i // 2 % 3]
            sound = 0.3 * np.sin(np.arange(300 + 37 * i) * 0.05 * (1 + i % 5))
            soundfile.write(folder / name, sound, rate)
        records.append(record(f"r{i}", [name], "Yes. " * (i % 5 + 1)))
    write_records(folder / "train.jsonl", records)
    return records
