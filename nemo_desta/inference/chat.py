"""Asking one model questions about some clips, one after the other."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nemo_desta.errors import ConfigError
from nemo_desta.inference.prompts import system_prompt
from nemo_desta.record import AUDIO_LOCATOR

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["Chat", "run_chat"]


class Chat:
    """One conversation. The clips stand in the first question; earlier turns are part of every later one.

    Args:
        model: any DeSTAModel.
        audio: paths of clips, at most 30 s each; none: the language model answers alone.
        transcript: what is said in the only clip; None: found by voice activity detection and Whisper.
        system: text of the system message; "" for none.
        sampling: passed to `model.generate` (max_new_tokens, do_sample, ...).

    Raises:
        ConfigError: a transcript for another number of clips than one.
    """

    def __init__(
        self,
        model: "DeSTAModel",
        audio: Sequence[str] = (),
        transcript: str | None = None,
        system: str = "",
        **sampling: Any,
    ) -> None:
        if transcript is not None and len(audio) != 1:
            raise ConfigError(
                f"a transcript belongs to one clip, there are {len(audio)}; leave it out, it will be found"
            )
        self.model = model
        self.audios = [{"audio": path, "text": transcript} for path in audio]
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        self.sampling = sampling

    def ask(self, question: str) -> str:
        """The answer to `question`; both are remembered."""
        turn: dict[str, Any] = {"role": "user", "content": question}
        if self.audios and not any("audios" in message for message in self.messages):
            content = AUDIO_LOCATOR * len(self.audios) + f"\n\n{question}"
            turn = {**turn, "content": content, "audios": self.audios}
        asked = [*self.messages, turn]
        (answer,) = self.model.generate([asked], **self.sampling)
        self.messages = [*asked, {"role": "assistant", "content": answer}]
        return answer


def run_chat(
    audio: Sequence[str],
    model: str,
    question: str | None = None,
    llm: str | None = None,
    encoder: str | None = None,
    transcript: str | None = None,
    system: str = "",
    max_new_tokens: int = 128,
) -> None:
    """Open a checkpoint and answer: `question`, or what is typed line by line until an empty line.

    Args:
        system: a sentence, or an id of conf/prompts/system.yaml.
    """
    text = system_prompt(system)
    from nemo_desta.models.desta import DeSTAModel

    opened = DeSTAModel.from_pretrained(model, llm=llm, encoder=encoder)
    chat = Chat(opened, audio, transcript, text, max_new_tokens=max_new_tokens)
    for asked in _typed() if question is None else [question]:
        sys.stdout.write(chat.ask(asked).strip() + "\n")
        sys.stdout.flush()


def _typed() -> Iterator[str]:
    """Lines of standard input, with a prompt for a person; ends at an empty line or the end of the input."""
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line
