"""What is known of a clip that the model is asked about."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemo_desta.record import AUDIO_LOCATOR, AudioRef, Message

__all__ = ["SOURCES", "EvalClip", "conversation", "read_clips"]

SOURCES = ("audio", "seed", "transcript")


@dataclass(frozen=True)
class EvalClip:
    """One clip and its truth.

    Attributes:
        id: unique in its split.
        audio: path relative to the audio root.
        transcript: what is spoken, " " when nothing is. The model gets it beside its audio features, as in training.
        seed_description: the metadata in words, what the backbone reads as "seed".
        attributes: name -> value, as the corpus states it (not as the seed mapping words it or leaves it out);
            `domain` (speech, sound, music) among them.
    """

    id: str
    audio: str
    transcript: str
    seed_description: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def conversation(clip: EvalClip, question: str, system: str, source: str = "audio") -> tuple[Message, ...]:
    """The messages of one question about one clip.

    Args:
        clip: what is asked about.
        question: the user's words.
        system: the system prompt; empty for none.
        source: what stands between <start_audio> and <end_audio>: "audio" the clip, "seed" its seed description,
            "transcript" its transcript. In the last two nothing is heard, and the message has no clip; a locator in
            the text stays text.
    """
    if source == "audio":
        inside, audios = AUDIO_LOCATOR, (AudioRef(clip.audio, clip.transcript),)
    else:
        inside, audios = {"seed": clip.seed_description, "transcript": clip.transcript}[source], ()
    user = Message("user", f"<start_audio>{inside}<end_audio>\n\n{question}", audios)
    return ((Message("system", system),) if system else ()) + (user,)


def read_clips(
    manifests: Sequence[str | os.PathLike[str]], seed_config: str, audio_root: str | os.PathLike[str]
) -> list[EvalClip]:
    """The clips of Lhotse manifests, described as in self-generation.

    Args:
        manifests: of cuts or recordings, as `nemo_desta.selfgen` takes them.
        seed_config: name or path of the seed mapping (`conf/seed/`).
        audio_root: the folder that audio paths become relative to.

    Raises:
        SelfGenError: a manifest is unusable, or audio lies outside the root.
    """
    from nemo_desta.selfgen.config import find_config
    from nemo_desta.selfgen.plan import CutSource, audio_path
    from nemo_desta.selfgen.seed import SeedFormatter

    describe = SeedFormatter.from_yaml(find_config("seed", seed_config))
    clips = []
    for name, cut in CutSource([Path(m) for m in manifests]):
        seed = describe(cut)
        attributes = {**_stated(cut), "domain": seed.domain}
        clips.append(
            EvalClip(name, audio_path(cut, os.path.abspath(audio_root)), seed.transcript, seed.text, attributes)
        )
    return clips


def _stated(cut: Any) -> dict[str, str]:
    """Fields of a cut's recording and supervisions; of several supervisions, what they agree on."""
    fields = [{"gender": s.gender, "language": s.language, **(s.custom or {})} for s in cut.supervisions]
    own = {**(getattr(cut.recording, "custom", None) or {}), **(cut.custom or {})}
    shared = {k: v for k, v in (fields[0] if fields else {}).items() if all(f.get(k) == v for f in fields)}
    return {k: str(v) for k, v in {**own, **shared}.items() if isinstance(v, str | int | float)}
