"""Answers to a few validation records, written at each validation for a human to read."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from nemo_desta.audio import load_audio
from nemo_desta.data.conversation import DeSTAConversation
from nemo_desta.data.source import read_desta
from nemo_desta.errors import DeSTAError
from nemo_desta.record import Message
from nemo_desta.training.loggers import show_audio, show_text

__all__ = ["SampleGenerations"]

_LOG = logging.getLogger(__name__)


class SampleGenerations(Callback):
    """Writes `<folder>/step_<step>_<set>.txt`, and shows the same text and, once, the clips in TensorBoard and W&B. Rank 0 only.

    Args:
        validation: the `data.validation_ds` section, resolved (see resolve_data_cfg).
        folder: where the texts go.
        num_per_set: records of each set, the first ones.
        max_new_tokens: longest answer; greedy.
    """

    def __init__(
        self, validation: Mapping[str, Any], folder: Path, num_per_set: int = 4, max_new_tokens: int = 64
    ) -> None:
        self.sets = {name: _first(item["input_cfg"], num_per_set) for name, item in validation["datasets"].items()}
        self.folder, self.max_new_tokens = folder, max_new_tokens
        self._heard = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # where weights are sharded, answering takes all processes
        alone = not getattr(trainer.strategy, "shards_weights", False)
        if trainer.sanity_checking or (alone and not trainer.is_global_zero):
            return
        for name, examples in self.sets.items():
            with tempfile.TemporaryDirectory() as folder:
                self._answer_set(trainer, pl_module, name, examples, Path(folder))
        self._heard = True

    def _answer_set(
        self, trainer: Trainer, model: LightningModule, name: str, examples: list[DeSTAConversation], folder: Path
    ) -> None:
        try:
            conversations = [_with_files(e, folder / str(i)) for i, e in enumerate(examples)]
            answers = self._answers(model, examples, conversations)
        except DeSTAError as err:  # a bad clip among the samples is no reason to end a training run
            _LOG.warning("no sample answers for %s: %s", name, err)
            return
        if not trainer.is_global_zero:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"step_{trainer.global_step:08d}_{name}.txt"
            path.write_text("\n".join(answers), encoding="utf-8")
            show_text(trainer.loggers, f"samples/{name}", answers, trainer.global_step)
            if not self._heard:  # clips stay the same
                show_audio(trainer.loggers, f"samples/{name}", _clips(examples, conversations), trainer.global_step)
        except (OSError, DeSTAError) as err:  # a full disk: checkpoints will tell
            _LOG.warning("sample answers for %s cannot be written: %s", name, err)

    def _answers(self, model: LightningModule, examples: list[DeSTAConversation], conversations: list) -> list[str]:
        answers = model.generate(
            conversations, max_new_tokens=self.max_new_tokens, do_sample=False, batch_size=len(conversations)
        )
        return [
            f"[{e.id}] {e.record.prompt or e.record.messages[-1].content}\n"
            f"  truth:  {e.record.seed_description}\n  target: {e.record.response}\n  answer: {answer}\n"
            for e, answer in zip(examples, answers, strict=True)
        ]


def _first(input_cfg: list[Mapping[str, Any]], count: int) -> list[DeSTAConversation]:
    entries = [e for e in input_cfg if e.get("type") == "desta"]
    return [c for e in entries for c in islice(read_desta({**e, "together": 1, "force_finite": True})[0], count)][
        :count
    ]


def _with_files(example: DeSTAConversation, folder: Path) -> list[Message]:
    """The messages with every clip as a file that can be opened; members of shards are unpacked."""
    clips = iter(example.clips)

    def file_of(audio: Any) -> Any:
        return replace(audio, audio=str(next(clips).as_file(folder)))

    return [replace(m, audios=tuple(file_of(a) for a in m.audios)) for m in example.record.messages]


def _clips(examples: list[DeSTAConversation], conversations: list[list[Message]]) -> dict[str, np.ndarray]:
    """Each clip of the examples by a name of its own, float32 at 16 kHz."""
    waves: dict[str, np.ndarray] = {}
    for example, messages in zip(examples, conversations, strict=True):
        files = [audio.audio for message in messages for audio in message.audios]
        names = [example.id] if len(files) == 1 else [f"{example.id} clip {i + 1}" for i in range(len(files))]
        waves |= {name: load_audio(file) for name, file in zip(names, files, strict=True)}
    return waves
