"""Checks of what a response says: words, letters, sentences, case, language. `check(response, arguments) -> bool`."""

from functools import lru_cache

from nemo_desta.evaluation.ifeval.arguments import Arguments
from nemo_desta.evaluation.ifeval.sentences import sentences, tokens, words

__all__ = [
    "capital_words",
    "detect_language",
    "english_capital",
    "english_lowercase",
    "forbidden_words",
    "is_letter",
    "keyword_frequency",
    "keywords",
    "language",
    "letter_frequency",
    "number_sentences",
    "number_words",
]

SEED = 0


def keywords(response: str, arguments: Arguments) -> bool:
    """Every keyword is found; keywords are patterns, and a part of a word is enough ("cat" in "education")."""
    return all(arguments.pattern(k).search(response) for k in arguments.texts("keywords"))


def keyword_frequency(response: str, arguments: Arguments) -> bool:
    """The keyword, again a pattern without word boundaries, is found less often than, or at least, `frequency` times."""
    found = len(arguments.pattern(arguments.text("keyword").strip()).findall(response))
    return arguments.compare(found, "frequency")


def forbidden_words(response: str, arguments: Arguments) -> bool:
    """None is found between word boundaries."""
    return not any(arguments.pattern(rf"\b{w}\b").search(response) for w in arguments.texts("forbidden_words"))


def letter_frequency(response: str, arguments: Arguments) -> bool:
    """The letter, case ignored. What is no letter from a to z is counted all the same (see `google.drawn_at_random`)."""
    letter = arguments.text("letter").strip().lower()
    return arguments.compare(response.lower().count(letter), "let_frequency", "let_relation")


def is_letter(text: str) -> bool:
    """One letter from a to z, either case."""
    return len(text) == 1 and "a" <= text.lower() <= "z"


def number_sentences(response: str, arguments: Arguments) -> bool:
    """Sentences as NLTK's Punkt splits English."""
    return arguments.compare(len(sentences(response)), "num_sentences")


def number_words(response: str, arguments: Arguments) -> bool:
    r"""Words are runs of \w: "don't" is two."""
    return arguments.compare(len(words(response)), "num_words")


def capital_words(response: str, arguments: Arguments) -> bool:
    """Tokens of NLTK's `word_tokenize` without lower-case letters: a hyphenated word is one, "I" is one too."""
    found = sum(token.isupper() for token in tokens(response))
    return arguments.compare(found, "capital_frequency", "capital_relation")


def english_capital(response: str, arguments: Arguments) -> bool:
    """No lower-case letter, and English where a language can be detected at all."""
    return response.isupper() and detect_language(response) in ("en", None)


def english_lowercase(response: str, arguments: Arguments) -> bool:
    """No capital, and English where a language can be detected at all."""
    return response.islower() and detect_language(response) in ("en", None)


def language(response: str, arguments: Arguments) -> bool:
    """The language has the code asked for; a response without one (digits only) follows the instruction."""
    return detect_language(response) in (arguments.text("language"), None)


def detect_language(text: str) -> str | None:
    """Code of the likeliest language by langdetect, always the same for the same text; None where it finds no feature."""
    from langdetect import LangDetectException

    detector = _languages().create()
    try:
        detector.append(text)
        return detector.detect()
    except LangDetectException:
        return None


@lru_cache(maxsize=1)
def _languages():
    """langdetect's profiles with a seed of ours: its module-wide one is left as it is."""
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(SEED)
    return factory
