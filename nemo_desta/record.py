"""The DeSTA record: one line of JSON from self-generation to serving. Pure Python, nothing heavy.

The schema holds that of the official DeSTA-AQA5M files (`id`, `dataset`, `seed_description`, `prompt`,
`messages`, `response`) and adds `provenance`.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_desta.errors import RecordError

__all__ = [
    "AUDIO_LOCATOR",
    "AudioRef",
    "Message",
    "Record",
    "parse_messages",
    "read_records",
    "resolve_audio",
    "write_records",
]

AUDIO_LOCATOR = "<|AUDIO|>"
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class AudioRef:
    """One clip of a message: `audio` is a path (relative to the data root in files),
    `text` its transcript, " " when nothing is spoken, None when it is still to be transcribed."""

    audio: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Each locator in `content` has one entry in `audios`, in order."""

    role: str
    content: str
    audios: tuple[AudioRef, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.audios:
            out["audios"] = [{"audio": a.audio, "text": a.text} for a in self.audios]
        return out


@dataclass(frozen=True, slots=True)
class Record:
    """One training example; see docs/data.md for a real one.

    Attributes:
        id: unique in its file.
        dataset: name of the corpus.
        seed_description: the text that stood where the audio will be when the LLM wrote `response`.
        prompt: the instruction, as drawn from a pool.
        messages: the conversation up to the answer.
        response: the target text.
        provenance: how `response` was made (backbone, sampling, pool, versions), or None.
    """

    id: str
    messages: tuple[Message, ...]
    response: str
    dataset: str = ""
    seed_description: str = ""
    prompt: str = ""
    provenance: dict[str, Any] | None = None

    @property
    def audios(self) -> tuple[AudioRef, ...]:
        """All clips of the conversation, in the order of their locators."""
        return tuple(a for m in self.messages for a in m.audios)

    @classmethod
    def from_dict(cls, data: Any, where: str = "record") -> "Record":
        """Validate one parsed JSON object.

        Args:
            data: the object.
            where: shown in errors, "file:line" by custom.

        Raises:
            RecordError: a field is missing or of the wrong type, a role is unknown, or the clips do not fit
                the locators.
        """
        if not isinstance(data, dict):
            raise RecordError(f"{where}: a record is a JSON object, this is a {type(data).__name__}.")
        for key in ("messages", "response"):
            if key not in data:
                raise RecordError(f"{where}: field {key!r} is missing; a record needs messages and response.")
        record_id = data.get("id")
        if not isinstance(record_id, str | int) or isinstance(record_id, bool) or record_id == "":
            raise RecordError(f"{where}: field 'id' must be a non-empty string, it is {record_id!r}.")
        where = f"{where} (id {record_id})"
        for key in ("response", "dataset", "seed_description", "prompt"):
            if not isinstance(data.get(key, ""), str):
                raise RecordError(f"{where}: field {key!r} must be a string, it is {data[key]!r}.")
        for key in ("id", "response", "dataset", "seed_description", "prompt"):
            _check_unicode(data.get(key), f"{where}: field {key!r}")
        provenance = data.get("provenance")
        if provenance is not None and not isinstance(provenance, dict):
            raise RecordError(f"{where}: field 'provenance' must be an object, it is {provenance!r}.")
        return cls(
            id=str(record_id),
            messages=parse_messages(data["messages"], where),
            response=data["response"],
            dataset=data.get("dataset", ""),
            seed_description=data.get("seed_description", ""),
            prompt=data.get("prompt", ""),
            provenance=provenance,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; `Record.from_dict(r.to_dict()) == r`."""
        out: dict[str, Any] = {
            "id": self.id,
            "dataset": self.dataset,
            "seed_description": self.seed_description,
            "prompt": self.prompt,
            "messages": [m.to_dict() for m in self.messages],
            "response": self.response,
        }
        if self.provenance is not None:
            out["provenance"] = self.provenance
        return out


def parse_messages(messages: Any, where: str = "conversation") -> tuple[Message, ...]:
    """Validate a list of message dicts (or Message objects, returned as they are).

    Raises:
        RecordError: naming `where`, the message number, and what to change.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise RecordError(f"{where}: messages must be a non-empty list, it is {messages!r}.")
    return tuple(
        m if isinstance(m, Message) else _parse_message(m, f"{where}: message {i}") for i, m in enumerate(messages)
    )


def _parse_message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise RecordError(f"{where} must be an object with role and content, it is {message!r}.")
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise RecordError(f"{where} has the unknown role {role!r}; use one of {', '.join(ROLES)}.")
    if not isinstance(content, str):
        raise RecordError(f"{where}: content must be a string, it is {content!r}.")
    _check_unicode(content, f"{where}: content")
    audios = message.get("audios") or []
    if not isinstance(audios, list):
        raise RecordError(f"{where}: audios must be a list, it is {audios!r}.")
    refs = tuple(_parse_audio(a, f"{where}, clip {i}") for i, a in enumerate(audios))
    places = content.count(AUDIO_LOCATOR)
    if places != len(refs):
        raise RecordError(
            f"{where} has {places} {AUDIO_LOCATOR} but {len(refs)} clips in 'audios'; give one clip for each locator."
        )
    return Message(role, content, refs)


def _parse_audio(audio: Any, where: str) -> AudioRef:
    if isinstance(audio, str):
        return AudioRef(audio)
    path = audio.get("audio") if isinstance(audio, dict) else None
    if not isinstance(path, str) or not path:
        raise RecordError(f"{where} must be an object with the path under 'audio', it is {audio!r}.")
    text = audio.get("text")
    if text is not None and not isinstance(text, str):
        raise RecordError(f"{where}: text must be a string, or null for 'transcribe it', it is {text!r}.")
    _check_unicode(text, f"{where}: text")
    _check_unicode(path, f"{where}: the path under 'audio'")
    return AudioRef(path, text)


def _check_unicode(text: Any, where: str) -> None:
    r"""JSON can spell half a surrogate pair (\ud800), which is no character and cannot be tokenised or written."""
    if isinstance(text, str) and not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise RecordError(f"{where} holds half a surrogate pair, which is no character; repair the text.")


def read_records(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Stream the records of a JSONL file; blank lines are ignored.

    Raises:
        RecordError: the file is missing, a line is no JSON, or a record is invalid; file and line are named.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"{path}: no such file; give a JSONL file of DeSTA records.")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield parse_line(line, f"{path}:{number}")


def parse_line(line: str | bytes, where: str) -> Record:
    """One JSON line to a record; errors name `where`."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise RecordError(
            f"{where}: not valid JSON ({err}); a record is one JSON object on one line of UTF-8."
        ) from err
    return Record.from_dict(data, where)


def write_records(path: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Write records as JSONL, whole or not at all, and return how many."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with temporary.open("w", encoding="utf-8") as out:
            for record in records:
                out.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
                count += 1
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def resolve_audio(root: str | os.PathLike[str] | None, audio: str) -> Path:
    """The file of a clip. With a root, paths are relative to it and cannot leave it; symbolic links may point anywhere.

    Without a root (a conversation typed by its own user) any path is taken as it is.

    Raises:
        RecordError: the path is absolute or climbs out of the root.
    """
    if root is None:
        return Path(audio)
    relative = Path(audio)
    if relative.is_absolute() or ".." in relative.parts:
        raise RecordError(f"clip path {audio!r} leaves the data root; use a path relative to the root, without '..'.")
    return Path(root) / relative
