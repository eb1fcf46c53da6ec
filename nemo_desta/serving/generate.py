"""Batch generation: a JSONL file of conversations in, a JSONL file of answers out."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_desta.errors import ConfigError, DeSTAError, RecordError
from nemo_desta.record import Message, parse_messages
from nemo_desta.schema import from_dict
from nemo_desta.serving.loading import open_model

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nemo_desta.models.desta import DeSTAModel

__all__ = ["SCHEMA", "GenerateConfig", "run"]

log = logging.getLogger(__name__)

_CHUNK_BATCHES = 8
"""Batches in a chunk; within a chunk conversations are sorted by length."""


@dataclass
class GenerateConfig:
    """Settings of `nemo-desta generate`; conf/generate.yaml holds them with comments."""

    model: str
    """Model folder, Hub repository, or training checkpoint."""
    input: str
    """JSONL: a record, an object with `messages`, or a bare message list on each line."""
    output: str
    """JSONL that is written."""
    audio_root: str | None = None
    """Folder that clip paths are relative to. None: the folder of `input`."""
    llm: str | None = None
    """In place of the language model the checkpoint names."""
    encoder: str | None = None
    """In place of the Whisper the checkpoint names."""
    dtype: str | None = None
    """Of the frozen weights; None keeps what the checkpoint says."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    batch_size: int = 8
    """Conversations in one forward pass; costs memory."""
    max_new_tokens: int = 128
    """Longest answer, in tokens."""
    do_sample: bool = False
    """False is greedy: the same answers every time."""
    temperature: float = 1.0
    """Read when sampling."""
    top_p: float = 1.0
    """Read when sampling."""
    seed: int = 0
    """Read when sampling."""
    limit: int | None = None
    """Answer only so many conversations, from the top."""
    overwrite: bool = False
    """Replace `output` if it exists."""


SCHEMA = GenerateConfig


@dataclass(frozen=True)
class _Row:
    """One conversation: where it stands, its id, its messages, and the reference answer if it has one."""

    where: str
    id: str
    messages: tuple[Message, ...]
    reference: str | None


def run(cfg: "DictConfig | Mapping[str, Any]") -> dict[str, int]:
    """Answer the conversations of a JSONL file.

    Output rows: `id`, `messages` (with the transcripts that were used), `prediction`, and `response` where the input
    had one; a row whose audio or turns cannot be used has `error` in place of `prediction`. The file appears when all
    is done; until then, and after an interruption, the answers so far stand in `<output>.partial`.

    Returns:
        {"answered": n, "failed": m}.

    Raises:
        RecordError: a line of the input is malformed (before anything is computed).
        DeSTAError: some rows failed (after the output is in place).
    """
    config = from_dict(GenerateConfig, _plain(cfg))
    output = Path(config.output)
    if output.exists() and not config.overwrite:
        raise ConfigError(f"{output} exists; choose another output, or set overwrite=true.")
    if config.batch_size < 1 or config.max_new_tokens < 1:
        raise ConfigError("batch_size and max_new_tokens must be at least 1.")
    rows = list(_read(Path(config.input), config.limit))
    model = open_model(config.model, config.llm, config.encoder, config.dtype, config.device)
    partial = output.with_name(output.name + ".partial")
    counts = {"answered": 0, "failed": 0}
    first_error = ""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as out:
            for row in _answers(model, rows, config):
                counts["failed" if "error" in row else "answered"] += 1
                first_error = first_error or row.get("error", "")
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                out.flush()
        os.replace(partial, output)
    except OSError as err:
        raise ConfigError(f"{output}: cannot be written ({err}); choose another output.") from err
    log.info("%d answers in %s", counts["answered"], output)
    if counts["failed"]:
        raise DeSTAError(
            f"{counts['failed']} of {len(rows)} conversations could not be answered, the others are in {output}; first: {first_error}"
        )
    return counts


def _plain(cfg: "DictConfig | Mapping[str, Any]") -> dict[str, Any]:
    from omegaconf import DictConfig, OmegaConf

    return OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else dict(cfg)


def _read(path: Path, limit: int | None) -> Iterator[_Row]:
    if not path.is_file():
        raise RecordError(f"{path}: no such file; give a JSONL file of conversations.")
    count = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if limit is not None and count >= limit:
                return
            if line.strip():
                yield _parse(line, f"{path}:{number}", str(count))
                count += 1


def _parse(line: bytes, where: str, default_id: str) -> _Row:
    try:
        data = json.loads(line)
    except ValueError as err:
        raise RecordError(f"{where}: not valid JSON ({err}); write one JSON object on one line of UTF-8.") from err
    data = {"messages": data} if isinstance(data, list) else data
    if not isinstance(data, dict) or "messages" not in data:
        raise RecordError(f"{where}: needs an object with 'messages', or a list of messages.")
    row_id, reference = str(data.get("id", default_id)), data.get("response")
    if reference is not None and not isinstance(reference, str):
        raise RecordError(f"{where} (id {row_id}): response must be a string, it is {reference!r}.")
    return _Row(where, row_id, parse_messages(data["messages"], f"{where} (id {row_id})"), reference)


def _answers(model: "DeSTAModel", rows: Sequence[_Row], config: GenerateConfig) -> Iterator[dict[str, Any]]:
    """Output rows in the order of `rows`, in chunks; a chunk with a bad conversation is done one by one."""
    import torch
    from tqdm import tqdm

    torch.manual_seed(config.seed)
    size = config.batch_size * _CHUNK_BATCHES
    with tqdm(total=len(rows), unit="conversation", disable=None) as bar:
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            try:
                done = _chunk(model, chunk, config)
            except DeSTAError:
                done = [_single(model, row, config) for row in chunk]
            bar.update(len(chunk))
            yield from done


def _single(model: "DeSTAModel", row: _Row, config: GenerateConfig) -> dict[str, Any]:
    try:
        return _chunk(model, [row], config)[0]
    except DeSTAError as err:
        message = f"{row.where} (id {row.id}): {str(err).removeprefix('conversation 0: ')}"
        log.warning("%s", message)
        return {**_head(row, row.messages), "error": message}


def _chunk(model: "DeSTAModel", rows: Sequence[_Row], config: GenerateConfig) -> list[dict[str, Any]]:
    from nemo_desta.models.generation import transcribe

    root = str(Path(config.input).parent) if config.audio_root is None else config.audio_root
    sampling = {"temperature": config.temperature, "top_p": config.top_p} if config.do_sample else {}
    conversations = transcribe(model, [row.messages for row in rows], root)
    texts = model.generate(
        conversations,
        audio_root=root,
        max_new_tokens=config.max_new_tokens,
        do_sample=config.do_sample,
        batch_size=config.batch_size,
        **sampling,
    )
    return [{**_head(row, c), "prediction": text} for row, c, text in zip(rows, conversations, texts, strict=True)]


def _head(row: _Row, messages: Sequence[Message]) -> dict[str, Any]:
    head: dict[str, Any] = {"id": row.id, "messages": [m.to_dict() for m in messages]}
    return head if row.reference is None else {**head, "response": row.reference}
