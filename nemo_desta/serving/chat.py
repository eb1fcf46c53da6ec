"""Chat: questions about recordings, one or a whole conversation, on the console."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nemo_desta.errors import ConfigError, DeSTAError
from nemo_desta.record import AUDIO_LOCATOR, AudioRef, Message
from nemo_desta.serving.loading import open_model

if TYPE_CHECKING:
    from nemo_desta.models.desta import DeSTAModel

__all__ = ["DEFAULT_SYSTEM", "ChatSession", "run_chat"]

DEFAULT_SYSTEM = "brief"
"""Id in conf/prompts/system.yaml: what the smol models are trained with."""

HELP = "Type a question. /audio FILE ... takes other recordings, /new forgets the conversation, /quit (or Ctrl-D) ends."


class ChatSession:
    """A conversation about recordings that remembers its turns.

    Args:
        model: in eval mode.
        system: text of the system message where there is audio; "" leaves it out.
        max_new_tokens: longest answer.

    Without recordings nothing is added to what the user types: the language model answers alone.
    """

    def __init__(self, model: "DeSTAModel", system: str = "", max_new_tokens: int = 128) -> None:
        self.model, self.system, self.max_new_tokens = model, system, max_new_tokens
        self.clips: tuple[AudioRef, ...] = ()
        self.turns: list[Message] = []

    def take(self, audio: Sequence[str], transcripts: Sequence[str | None] | None = None) -> tuple[AudioRef, ...]:
        """Begin a conversation about these files; returns them with their transcripts, found where None was given.

        Raises:
            AudioError: a file cannot be used; the conversation so far goes on.
            ConfigError: the numbers of transcripts and files differ.
        """
        from nemo_desta.models.generation import transcribe
        from nemo_desta.models.scoring import load_clip

        texts = [None] * len(audio) if transcripts is None else list(transcripts)
        if len(texts) != len(audio):
            raise ConfigError(f"{len(texts)} transcripts for {len(audio)} recordings; give one for each, in order.")
        for name in audio:
            load_clip(None, name, "recording")
        refs = tuple(AudioRef(str(name), text) for name, text in zip(audio, texts, strict=True))
        if refs:
            opening = Message("user", AUDIO_LOCATOR * len(refs), refs)
            refs = transcribe(self.model, [[opening]], None)[0][0].audios
        self.clips, self.turns = refs, []
        return refs

    def ask(self, question: str) -> str:
        """The answer; question and answer join the conversation."""
        question = question.replace(AUDIO_LOCATOR, "the audio")
        turns = [*self.turns, Message("user", question)] if self.turns or not self.clips else self._opening(question)
        answer = self.model.generate([turns], max_new_tokens=self.max_new_tokens)[0].strip()
        self.turns = [*turns, Message("assistant", answer)]
        return answer

    def forget(self) -> None:
        """Forget the turns, keep the recordings."""
        self.turns = []

    def _opening(self, question: str) -> list[Message]:
        places = "\n".join([AUDIO_LOCATOR] * len(self.clips))
        first = Message("user", f"{places}\n\n{question}", self.clips)
        return [Message("system", self.system), first] if self.system else [first]


def run_chat(
    checkpoint: str,
    audio: Sequence[str] = (),
    question: Sequence[str] = (),
    llm: str | None = None,
    encoder: str | None = None,
    transcript: Sequence[str] = (),
    system: str | None = None,
    max_new_tokens: int = 128,
    dtype: str | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    read: Callable[[str], str] = input,
) -> None:
    """Ask about recordings: each `question` in turn, or (none) as many as `read` gives until it raises EOFError.

    Args:
        checkpoint: see serving.loading.open_model.
        audio: files; none lets the language model answer alone.
        transcript: what is said in each file, in order; empty: found by Whisper.
        system: system message in place of the default one; "" for none.

    Raises:
        DeSTAError: bad checkpoint or recording; within a conversation bad recordings are reported by `say` instead.
    """
    session = ChatSession(
        open_model(checkpoint, llm, encoder, dtype, device),
        _default_system() if system is None else system,
        max_new_tokens,
    )
    _report(session.take(audio, transcript or None), say)
    for text in question:
        say(session.ask(text))
    if question:
        return
    if sys.stdin.isatty():
        say(HELP)
    while True:
        try:
            line = read("> ").strip()
        except EOFError:
            return
        if line in ("/quit", "/exit"):
            return
        if line:
            try:
                _command(session, line, say)
            except DeSTAError as err:
                say(f"error: {err}")


def _command(session: ChatSession, line: str, say: Callable[[str], None]) -> None:
    import shlex

    if line == "/new":
        session.forget()
    elif line.split()[0] == "/audio":
        try:
            files = shlex.split(line)[1:]
        except ValueError as err:
            raise ConfigError(f"{line!r} cannot be read ({err}); put quotes around names with spaces.") from err
        _report(session.take(files), say)
    elif line.startswith("/"):
        say(HELP)
    else:
        say(session.ask(line))


def _report(clips: Sequence[AudioRef], say: Callable[[str], None]) -> None:
    for clip in clips:
        heard = (clip.text or "").strip()
        say(f"[{clip.audio}] " + (f'transcript: "{heard}"' if heard else "transcript: none, no speech was found"))


def _default_system() -> str:
    import yaml

    from nemo_desta.paths import conf_dir

    path = conf_dir() / "prompts" / "system.yaml"
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["prompts"][DEFAULT_SYSTEM])
