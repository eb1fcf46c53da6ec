"""Raw replies of judges, kept for good: an append-only JSONL, one line a reply, that no two runs pay for twice."""

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.judging import JudgePrompt, Reply
from nemo_desta.evaluation.judging.engines import Engine
from nemo_desta.evaluation.judging.recorded import Raw, encode, question, question_key, read_lines
from nemo_desta.files import sync_folder

__all__ = ["CachedJudge", "ReplyFile"]

_SYNC_EVERY = 1.0  # seconds: what a power cut may take; a killed process takes nothing


class ReplyFile:
    """The file of replies. Several processes may use it at once: each line is written under a lock.

    A last line that a kill has torn is cut off. Where a question stands twice, its first reply counts, for every run.

    Args:
        path: of the file; made when it is not there.

    Raises:
        EvaluationError: it cannot be written to, or a line of it is damaged (the message names it).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._replies: dict[str, tuple[str, ...]] = {}
        self._offset = self._lines = 0
        self._synced = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
            sync_folder(path.parent)
        except OSError as err:
            raise EvaluationError(
                f"{path}: cannot be written to ({err}); give another file for the judge's replies, or use "
                f"--judge replay:{path} to read them only."
            ) from err
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._replies

    def __len__(self) -> int:
        return len(self._replies)

    def __getitem__(self, key: str) -> tuple[str, ...]:
        return self._replies[key]

    def refresh(self) -> None:
        """Read what other processes have added.

        Raises:
            EvaluationError: a line is damaged, or the file has lost lines.
        """
        with self._locked():
            self._read_on()

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a reply; it is in the file when this returns.

        Args:
            line: `question`'s keys, `key`, `texts`, and whatever is worth keeping.

        Raises:
            EvaluationError: the disk refuses; what was kept before is safe.
        """
        payload = encode(line)
        with self._locked():
            self._read_on()
            self._write(payload)
            if time.monotonic() - self._synced > _SYNC_EVERY:
                self.sync()
        self._replies.setdefault(line["key"], tuple(line["texts"]))
        self._offset += len(payload)
        self._lines += 1

    def sync(self) -> None:
        """Make what is kept survive a power cut."""
        with suppress(OSError):  # of file systems that know no fsync
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync and close."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def _write(self, payload: bytes) -> None:
        written = 0
        while written < len(payload):
            written += self._file.write(payload[written:])

    def _read_on(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if size == self._offset:
            return
        if size < self._offset:
            raise EvaluationError(
                f"{self.path}: has become shorter while it was used; something else writes to it: stop that, and start again."
            )
        self._file.seek(self._offset)
        content = self._file.read(size - self._offset)
        torn = False
        for found in read_lines(content, str(self.path), self._lines + 1):
            torn = found is None
            if found is not None:
                key = found.key or _key_of(found.stated, found.where)
                self._replies.setdefault(key, found.texts)
        self._offset += self._end(content, torn)
        self._lines += content.count(b"\n") + (not torn and not content.endswith(b"\n"))

    def _end(self, content: bytes, torn: bool) -> int:
        """Let the file end with a newline; the length of what stays of `content`."""
        if content.endswith(b"\n"):
            return len(content)
        if torn:
            kept = content.rfind(b"\n") + 1
            os.ftruncate(self._file.fileno(), self._offset + kept)
            return kept
        self._write(b"\n")
        return len(content) + 1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except (OSError, ValueError) as err:
            if isinstance(err, EvaluationError):
                raise
            raise EvaluationError(
                f"{self.path}: cannot be read or written ({err}); the replies kept before are safe: make room, or give "
                "another file for the judge's replies."
            ) from err


class CachedJudge:
    """A judge that remembers: asks its engine only what the file does not know, and each question once.

    A prompt that had no reply is not remembered, so the next run asks for it again.

    Args:
        engine: who answers.
        path: of the replies.
        progress: a bar with the time left; None: on a terminal only.

    Raises:
        EvaluationError: the file is damaged or cannot be written.
    """

    def __init__(self, engine: Engine, path: Path, progress: bool | None = None) -> None:
        self.engine = engine
        self.model = engine.model
        self.replies = ReplyFile(path)
        self._hidden = None if progress is None else not progress
        self._counts: Counter[str] = Counter({"prompts": 0, "from_cache": 0, "asked": 0, "failed": 0})
        self._usage: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def ask(self, prompts: Sequence[JudgePrompt]) -> list[Reply]:
        """See `Judge.ask`.

        Raises:
            EvaluationError: the engine cannot go on; the message says how many replies are kept.
        """
        asked = [question(self.model, p, self.engine.settings(p)) for p in prompts]
        keys = [question_key(a) for a in asked]
        self.replies.refresh()
        unique = dict(zip(keys, zip(asked, prompts, strict=True), strict=True))
        todo = {k: pair for k, pair in unique.items() if k not in self.replies}
        self._counts.update(prompts=len(unique), from_cache=len(unique) - len(todo))
        errors = self._ask(todo) if todo else {}
        return [Reply(self.replies[k]) if k in self.replies else Reply(error=errors[k]) for k in keys]

    def _ask(self, todo: Mapping[str, tuple[dict[str, Any], JudgePrompt]]) -> dict[str, str]:
        """The errors, by key, of what has no reply; the replies are in the file."""
        keys, errors, kept = list(todo), {}, 0
        with tqdm(total=len(keys), unit="reply", desc=f"judge {self.model}", disable=self._hidden) as bar:

            def keep(number: int, raw: Raw) -> None:
                nonlocal kept
                key = keys[number]
                if raw.error is None:
                    self.replies.append(_line(key, todo[key][0], raw))
                    kept += 1
                else:
                    errors[key] = raw.error
                self._count(raw)
                bar.update()

            try:
                self.engine.answer([prompt for _, prompt in todo.values()], keep)
            except EvaluationError as err:
                raise EvaluationError(
                    f"{err} {kept} of {len(keys)} replies came in this run, {len(self.replies)} are kept in "
                    f"{self.replies.path}; run the same command again and it asks only for the rest (or score with what "
                    f"is there: --judge replay:{self.replies.path})."
                ) from err.__cause__
            finally:
                self.replies.sync()
        return {k: errors.get(k, "the judge gave no reply") for k in keys if k not in self.replies}

    def _count(self, raw: Raw) -> None:
        self._counts.update(asked=1, failed=raw.error is not None)
        self._usage.update({k: v for k, v in raw.usage.items() if isinstance(v, int) and not isinstance(v, bool)})
        if raw.usage.get("estimated"):
            self._usage["replies_with_estimated_tokens"] += 1
        if raw.error is not None:
            self._errors[raw.error] += 1

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`: the engine's own words, counts of distinct prompts, tokens used in this run."""
        errors = {"errors": dict(self._errors.most_common(3))} if self._errors else {}
        return {**self.engine.describe(), **self._counts, "tokens": dict(self._usage), **errors}


def _line(key: str, asked: Mapping[str, Any], raw: Raw) -> dict[str, Any]:
    return {
        "key": key,
        **asked,
        "texts": list(raw.texts),
        "finish_reasons": list(raw.finish_reasons),
        "served": raw.served,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(raw.seconds, 3),
        "usage": dict(raw.usage),
    }


def _key_of(stated: Mapping[str, Any], where: str) -> str:
    """Of a line without one: it states all that makes it, or it is no line of a cache."""
    if not {"model", "messages", "temperature", "top_p", "max_tokens", "n"} <= stated.keys():
        raise EvaluationError(
            f"{where}: is no line of a judge's cache (model or sampling is missing); read recordings of others with "
            "--judge replay:FILE, and keep new replies in another file."
        )
    return question_key(stated)
