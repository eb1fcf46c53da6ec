import re
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

from nemo_desta.attributes import asr, labellers
from nemo_desta.attributes.labellers import Clip, load_labellers
from nemo_desta.errors import ConfigError, SelfGenError
from tests.selfgen.corpus import cut


def clip(**fields):
    return Clip(cut(), np.full(160, 0.4, np.float32), **{"domain": "speech", **fields})


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Puts a module `my_labels` on the path; called with its source."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_labels", raising=False)

    def write(source):
        (tmp_path / "my_labels.py").write_text(textwrap.dedent(source), encoding="utf-8")

    yield write
    sys.modules.pop("my_labels", None)


def documented_example():
    return re.search(r"^    from functools.*?(?=^is used by)", labellers.__doc__, re.MULTILINE | re.DOTALL)[0]


def test_the_documented_labeller_works_with_and_without_options(module):
    module(documented_example())
    calm, excited = load_labellers(["my_labels:label", {"name": "my_labels:label", "threshold": 0.3}])
    assert calm([clip(), clip(domain="music")]) == [{"emotion": "Calm"}, {}]
    assert excited([clip()]) == [{"emotion": "Excited"}]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("asf", "asr or package.module:function"),
        (3, "asr or package.module:function"),
        ("no_such_package:label", "PYTHONPATH"),
        ("json:no_such_function", "no_such_function"),
        ({"name": "asr", "encodr": "x"}, "encodr"),
        ("json:decoder", "callable"),
    ],
)
def test_a_labeller_that_cannot_be_called_is_refused_before_any_work(entry, message):
    with pytest.raises(ConfigError, match=message):
        load_labellers([entry])


@pytest.mark.parametrize("body", ["[]", "None", "[3]", "[{'a': object()}]", "[{1: 'x'}]", "[{'a': [{}]}]", "1 / 0"])
def test_what_a_labeller_gives_is_checked_and_names_it(module, body):
    module(f"def label(clips): return {body}")
    (labeller,) = load_labellers(["my_labels:label"])
    with pytest.raises(SelfGenError, match="my_labels:label.*'c'"):
        labeller([clip()])


@pytest.fixture
def heard(monkeypatch):
    """A transcriber that says how long what it hears is; the lengths it heard."""
    lengths = []

    def transcribe(audio):
        lengths.append(len(audio))
        return f"{len(audio)} samples" if audio.any() else " "

    monkeypatch.setattr(asr, "_transcriber", lambda encoder, device: transcribe)
    return lengths


def test_asr_hears_only_speech_without_text(heard):
    clips = [clip(), clip(text="Stated."), clip(domain="music"), clip(domain="sound"), clip(domain=None)]
    found = asr.label(clips)
    assert found == [{"text": "160 samples", "text_source": "asr"}, {}, {}, {}, found[0]]
    assert heard == [160, 160]


def test_asr_says_nothing_where_nobody_speaks(heard):
    assert asr.label([Clip(cut(), np.zeros(160, np.float32), None)]) == [{}]


def test_asr_hears_all_of_a_long_clip_in_parts_that_whisper_takes(heard, monkeypatch):
    second = 16000
    spans = [(0, 20 * second), (22 * second, 60 * second), (64 * second, 70 * second)]
    vad = SimpleNamespace(speech_spans=lambda audio: spans)
    monkeypatch.setitem(sys.modules, "nemo_desta.modules.transcriber", vad)
    audio = np.ones(70 * second, np.float32)
    parts = asr.windows(audio)
    assert parts == [(0, 21 * second), (21 * second, 51 * second), (51 * second, 70 * second)]
    (found,) = asr.label([Clip(cut(), audio, "speech")])
    assert sum(heard) == len(audio) and max(heard) <= 30 * second
    assert found["text"] == " ".join(f"{end - start} samples" for start, end in parts)
