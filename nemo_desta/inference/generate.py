"""Answering a file: conversations in, predictions out, in batches; what is written stays, and a second start goes on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_desta.errors import ConfigError, RecordError
from nemo_desta.record import Message, parse_messages
from nemo_desta.schema import from_dict

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nemo_desta.models.desta import DeSTAModel

__all__ = ["SCHEMA", "GenerateConfig", "answer_file", "read_conversations", "run"]

_BATCHES_AT_ONCE = 8  # rows of these are sorted by length together, then written


@dataclass(frozen=True)
class GenerateConfig:
    """conf/desta_generate.yaml."""

    model: str
    """Folder or hub id of a checkpoint."""
    input: str
    """JSONL: DeSTA records, or objects with `id` and `messages`."""
    output: str
    """JSONL to write: `id`, `prediction`, and the `response` of the input, if any. One that was begun is continued."""
    audio_root: str | None = None
    """Audio paths are relative to it; null: the folder of `input`."""
    llm: str | None = None
    """Path or hub id in place of the language model that the checkpoint names."""
    encoder: str | None = None
    """The same for the Whisper model."""
    dtype: str | None = None
    """Of the frozen weights; null: as the checkpoint says."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    batch_size: int = 8
    """Rows in a forward pass; costs memory, never changes an answer."""
    max_new_tokens: int = 128
    """Longest answer."""
    do_sample: bool = False
    """False: greedy."""
    temperature: float = 1.0
    """Used when do_sample."""
    top_p: float = 1.0
    """Used when do_sample."""
    limit: int | None = None
    """Only the first so many conversations."""


SCHEMA = GenerateConfig


def run(cfg: "DictConfig") -> None:
    """Answer the conversations of a JSONL file."""
    from omegaconf import OmegaConf

    config = from_dict(GenerateConfig, OmegaConf.to_container(cfg, resolve=True))
    conversations = read_conversations(config.input)  # mistakes in the file show before the model is opened
    from nemo_desta.models.desta import DeSTAModel

    model = DeSTAModel.from_pretrained(config.model, llm=config.llm, encoder=config.encoder, dtype=config.dtype)
    answer_file(model.to(config.device), conversations[: config.limit], config)


def read_conversations(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file: `id`, `messages` (parsed) and `response` (None where there is none).

    Raises:
        RecordError: the file is missing, or a line is wrong, or an id stands twice; file and line are named.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"{path}: no such file; give a JSONL file of conversations.")
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            row = _parse(line, f"{path}:{number}")
            if row["id"] in rows:
                raise RecordError(
                    f"{path}:{number}: the id {row['id']!r} stands in this file already; ids must be unique."
                )
            rows[row["id"]] = row
    return list(rows.values())


def answer_file(model: "DeSTAModel", rows: Sequence[dict[str, Any]], config: GenerateConfig) -> int:
    """Answer `rows` and append the predictions to `config.output`; ids that stand there already are left out.

    Returns:
        The number of new predictions.
    """
    from tqdm import tqdm

    root = config.audio_root if config.audio_root is not None else str(Path(config.input).parent)
    output = Path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    done = _keep_whole_lines(output)
    todo = [row for row in rows if row["id"] not in done]
    sampling = {"temperature": config.temperature, "top_p": config.top_p} if config.do_sample else {}
    with output.open("a", encoding="utf-8") as out, tqdm(total=len(todo), unit="answers") as bar:
        for chunk in _chunks(todo, config.batch_size * _BATCHES_AT_ONCE):
            conversations: list[tuple[Message, ...]] = [row["messages"] for row in chunk]
            answers = model.generate(
                conversations,
                audio_root=root,
                max_new_tokens=config.max_new_tokens,
                do_sample=config.do_sample,
                batch_size=config.batch_size,
                **sampling,
            )
            for row, answer in zip(chunk, answers, strict=True):
                line = {"id": row["id"], "prediction": answer, "response": row["response"]}
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
            out.flush()
            bar.update(len(chunk))
    return len(todo)


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise RecordError(f"{where}: not valid JSON ({error}); write one JSON object a line, in UTF-8.") from error
    if not isinstance(data, dict) or "messages" not in data:
        raise RecordError(f"{where}: a conversation is a JSON object with 'id' and 'messages'.")
    if not isinstance(data.get("id"), str | int) or data["id"] == "":
        raise RecordError(f"{where}: field 'id' must be a non-empty string, it is {data.get('id')!r}.")
    row_id = str(data["id"])
    messages = parse_messages(data["messages"], f"{where} (id {row_id})")
    return {"id": row_id, "messages": messages, "response": data.get("response")}


def _keep_whole_lines(path: Path) -> set[str]:
    """The ids that an earlier run has answered; a line that it did not finish is cut off.

    Raises:
        ConfigError: the file is something else.
    """
    if not path.is_file():
        return set()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        done = {json.loads(line)["id"] for line in whole.splitlines()}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} exists and holds no predictions ({error}); give another output.") from error
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return done


def _chunks(rows: Sequence[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk
