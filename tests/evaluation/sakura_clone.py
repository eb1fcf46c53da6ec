"""A small folder in the layout of SAKURA's repository."""

import csv
from pathlib import Path

import numpy as np
import soundfile

COLUMNS = ("file", "attribute_label", "single_instruction", "single_answer", "multi_instruction", "multi_answer")
JUDGE = '''
import os


def query(client):
    system_prompt = """You judge."""
    return client


if __name__ == "__main__":
    user_prompt_template = """Question [QUESTION]
Gold [GROUND_TRUTH_ANSWER]
Said [MODEL_GENERATED_RESPONSE]"""
'''
ROWS = {
    "Animal": [
        (
            "dog.wav",
            "dog",
            "Which animal? (a) cat (b) dog",
            "(b) dog",
            "What does it do? (a) bark (b) meow",
            "(a) bark",
        ),
        (
            "cat.wav",
            "cat",
            "Which animal? (a) cat (b) dog",
            "(a) cat",
            "What does it do? (a) bark (b) meow",
            "(b) meow",
        ),
    ],
    "Emotion": [
        (
            "x.wav",
            "angry",
            "Which emotion? (c) happy (d) angry",
            " (d) angry",
            "Which face? (a) smile (b) frown",
            "(b) frown",
        ),
    ],
}


def make_clone(root: Path, rows: dict[str, list[tuple]] | None = None, judge: bool = True) -> Path:
    """Write data/<track>/{metadata.csv, audio/} and evaluation/llm_judge.py; half a second of noise a clip."""
    for track, found in (rows or ROWS).items():
        audio = root / "data" / track / "audio"
        audio.mkdir(parents=True)
        for number, row in enumerate(found):
            noise = np.random.default_rng(number).standard_normal(8000) * 0.05
            soundfile.write(audio / row[0], noise, 16_000)
        with (root / "data" / track / "metadata.csv").open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerows([COLUMNS, *found])
    if judge:
        (root / "evaluation").mkdir()
        (root / "evaluation" / "llm_judge.py").write_text(JUDGE)
    return root
