"""The LLMs of a run are loaded when they are asked, once, and the one named for the review reviews."""

import pytest

from nemo_desta.selfgen.backends.engines import Engines
from nemo_desta.selfgen.backends.options import HFOptions, backend_options
from nemo_desta.selfgen.config import SelfGenConfig
from tests.selfgen.fake import FakeBackend

OTHER = {"judge": True, "llm": "judge", "backend": {"name": "hf"}}


@pytest.fixture
def built(monkeypatch):
    names = []

    def build(self, llm, max_prompt_tokens):
        names.append(llm)
        return FakeBackend()

    monkeypatch.setattr(HFOptions, "build", build)
    return names


def config(**settings) -> SelfGenConfig:
    return SelfGenConfig(cuts=["cuts.jsonl"], output_dir="out", llm="backbone", **settings)


def test_nothing_is_loaded_before_it_is_asked_and_then_once(built):
    engines = Engines(config(review=OTHER), backend_options("hf"))
    assert built == []
    first = engines.backbone, engines.reviewer
    assert (engines.backbone, engines.reviewer) == first and first[0] is not first[1]
    assert built == ["backbone", "judge"]


def test_the_backbone_reviews_unless_another_is_named(built):
    engines = Engines(config(review={"judge": True}), backend_options("hf"))
    assert engines.reviewer is engines.backbone
    given = FakeBackend()
    assert Engines(config(), given).reviewer is given
    assert Engines(config(review=OTHER), given).reviewer is not given
    assert built == ["backbone", "judge"]
