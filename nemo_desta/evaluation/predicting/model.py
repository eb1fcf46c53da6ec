"""Answers of a DeSTA model and of its backbone."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemo_desta.errors import DeSTAError
from nemo_desta.evaluation.predicting.answering import Asked, Said
from nemo_desta.evaluation.predicting.config import EvalConfig
from nemo_desta.record import Message

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["LocalModel"]


class LocalModel:
    """One model in memory, for all predictors that need it; loaded when first asked.

    Args:
        config: which model, where.
    """

    def __init__(self, config: EvalConfig) -> None:
        self.config = config
        self._model: DeSTAModel | None = None

    @property
    def model(self) -> "DeSTAModel":
        """In eval mode."""
        if self._model is None:
            from nemo_desta.serving.loading import open_model

            c = self.config
            self._model = open_model(c.model, c.llm, c.encoder, c.dtype, c.device).eval()
        return self._model

    @property
    def encoder(self) -> str:
        """Name of the Whisper, which transcribes too."""
        return self.model.config.encoder

    @property
    def frozen(self) -> bool:
        """Whether the LLM is the backbone as it was: no LoRA."""
        return self.model.config.lora is None

    def describe(self) -> dict[str, Any]:
        """What the answers depend on, for manifests."""
        c, m = self.config, self.model.config
        return {"model": c.model, "weights": self.weights, "llm": m.llm, "encoder": m.encoder, "dtype": c.dtype}

    @cached_property
    def weights(self) -> str | None:
        """See `fingerprint`."""
        return fingerprint(self.config.model)

    def transcribe(self, samples: np.ndarray) -> str:
        """What is said in 16 kHz mono float32 (num_samples,); " " when nobody speaks."""
        from nemo_desta.models.generation import transcriber_of

        return transcriber_of(self.model)(samples)

    def answer(self, asked: Sequence[Asked], max_new_tokens: int) -> list[Said]:
        """Greedy answers to one batch, all with audio or all without. A question that fails does not take the others with it."""
        try:
            return self._together(asked, max_new_tokens)
        except DeSTAError:
            return [self._alone(a, max_new_tokens) for a in asked]

    def _together(self, asked: Sequence[Asked], max_new_tokens: int) -> list[Said]:
        texts = self.model.generate(
            [_on_disk(a) for a in asked], audio_root=None, max_new_tokens=max_new_tokens, batch_size=len(asked)
        )
        return [Said(text) for text in texts]

    def _alone(self, asked: Asked, max_new_tokens: int) -> Said:
        try:
            return self._together([asked], max_new_tokens)[0]
        except DeSTAError as err:
            return Said(None, str(err).removeprefix("conversation 0: "))


def _on_disk(asked: Asked) -> list[Message]:
    """The messages with the files' whole paths."""
    files = iter(asked.files)
    return [replace(m, audios=tuple(replace(a, audio=next(files)) for a in m.audios)) for m in asked.messages]


def fingerprint(name: str | None) -> str | None:
    """Hash of a model folder's weights and configuration, or of a checkpoint file; None for what is not on disk."""
    path = Path(name or "")
    files = (
        [path]
        if path.is_file()
        else sorted(p for p in path.glob("*") if p.suffix in (".safetensors", ".json", ".ckpt"))
    )
    if not name or not files or not path.exists():
        return None
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
