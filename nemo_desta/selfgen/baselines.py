"""The targets that self-generation is compared with: sentences from templates, and transcripts."""

from collections.abc import Callable

from nemo_desta.selfgen.words import seed_attributes, seed_words

__all__ = ["BASELINES", "templated", "transcript"]

_SENTENCES = {
    "Gender": "The speaker is {}.",
    "Age": "The speaker's age is {}.",
    "Number of speakers": "The number of speakers is {}.",
    "Speaks": "The speaker speaks {}.",
    "Duration": "The recording lasts {}.",
    "Audio category": "The sound is {}.",
    "Heard": "The sound is {}.",
    "Beats per minute": "The tempo is {}.",
}
"""What reads better than "The <name> is <value>."."""
_AS_WRITTEN = {"Language", "Accent", "Dialect", "Native language", "Country", "Speaker", "Caption", "Song", "Key"}
"""Attributes whose values are names."""


def templated(description: str) -> str | None:
    """One fixed sentence for each attribute of a seed description, then its words; None when it has no attribute.

    Such targets are what audio models were trained on before self-generation: right, and in nobody's words.
    """
    attributes = seed_attributes(description)
    if not attributes:
        return None
    spoken = seed_words(description)
    sentences = [_sentence(name, value) for name, value in attributes.items()]
    return " ".join([*sentences, f'They say: "{spoken}"'] if spoken else sentences)


def transcript(description: str) -> str | None:
    """The words of a seed description, None when there are none: the target of speech recognition."""
    return seed_words(description) or None


def _sentence(name: str, value: str) -> str:
    value = value if name in _AS_WRITTEN else value[:1].lower() + value[1:]
    return _SENTENCES.get(name, f"The {name[:1].lower() + name[1:]} is {{}}.").replace("{}", value)


BASELINES: dict[str, Callable[[str], str | None]] = {"templated": templated, "transcript": transcript}
"""Seed description to target, by name."""
