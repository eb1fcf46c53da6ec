"""Speech is reproducible to the sample, whatever was spoken before, and bad input is refused in words."""

import hashlib
import multiprocessing

import numpy as np
import pytest

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.espeak import speak, variant_definition

_TEXT = "The kettle is on the stove."
_MALE = "language variant\npitch 80 120\nflutter 5\n"


def _digest(_: int = 0) -> str:
    return hashlib.sha256(speak(_TEXT, _MALE).tobytes()).hexdigest()


def test_same_words_same_samples_whatever_was_spoken_before():
    first = speak(_TEXT, _MALE)
    speak("Something else altogether, and longer than that.", variant_definition("belinda"), "fr")
    np.testing.assert_array_equal(speak(_TEXT, _MALE), first)
    assert first.dtype == np.int16 and first.ndim == 1 and len(first) > 10000


def test_same_samples_in_another_process():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(_digest, [0]) == [_digest()]


def test_voice_definition_rate_and_language_are_obeyed():
    slow, fast = speak(_TEXT, _MALE, rate=105), speak(_TEXT, _MALE, rate=280)
    assert len(slow) > 2 * len(fast)
    assert not np.array_equal(speak(_TEXT, _MALE, "de")[:10000], speak(_TEXT, _MALE, "en-us")[:10000])


def test_voices_that_are_not_reproducible_are_refused():
    with pytest.raises(ConfigError, match="breath"):
        speak(_TEXT, variant_definition("f2"))


def test_unknown_language_and_variant_are_named():
    with pytest.raises(ConfigError, match="xx-klingon"):
        speak(_TEXT, _MALE, "xx-klingon")
    with pytest.raises(ConfigError, match="nobody"):
        variant_definition("nobody")
