"""A configuration's mistakes are all reported, each with a hint that helps."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.errors import ConfigError
from nemo_desta.schema import check, from_dict, problems, section, unknown_names


@dataclass
class Connector:
    num_queries: int = 64
    dropout: float = 0.1
    output_scale: str | float | None = None


@dataclass
class Config:
    llm: str
    kind: Literal["own", "official"] = "own"
    layers: list[int] | None = None
    connector: Connector = field(default_factory=Connector)
    other: Connector | None = None
    several: list[Connector] = field(default_factory=list)
    free: dict[str, Any] = field(default_factory=dict)
    trainer: dict = section("trainer")


def test_a_correct_configuration_has_no_problems():
    cfg = {
        "llm": "a",
        "layers": [1, 2],
        "connector": {"dropout": 0, "output_scale": "embeddings"},
        "other": None,
        "several": [{"num_queries": 2}],
        "free": {"whatever": [1, {"x": None}]},
        "trainer": {"not_checked_here": 1},
    }
    assert problems(cfg, Config) == []


def test_every_mistake_is_reported_at_once():
    cfg = {"kind": "mine", "layers": [1, "x"], "conector": {}, "connector": {"num_querys": 1, "dropout": True}}
    with pytest.raises(ConfigError) as error:
        check(cfg, Config, "the file my.yaml")
    text = str(error.value)
    assert text.startswith("the file my.yaml has 6 mistakes:")
    for message in (
        "llm: missing",
        "kind: must be one of 'own', 'official', got 'mine'",
        "layers: must be list[int] or null",
        "conector: unknown key; did you mean 'connector'?",
        "connector.num_querys: unknown key; did you mean 'num_queries'?",
        "connector.dropout: must be float, got True",
    ):
        assert message in text


def test_a_key_in_the_wrong_section_is_told_its_home():
    assert problems({"llm": "a", "num_queries": 3}, Config) == [
        "num_queries: unknown key; it belongs to 'connector.num_queries'"
    ]


@pytest.mark.parametrize(
    ("cfg", "path"),
    [
        ({"connector": 3}, "connector"),
        ({"connector": None}, "connector"),
        ({"other": {"dropout": "x"}}, "other.dropout"),
        ({"several": [{"dropout": 1}, {"drop": 1}]}, "several[1].drop"),
        ({"several": {"dropout": 1}}, "several"),
        ({"free": [1]}, "free"),
        ({"trainer": 4}, "trainer"),
        ({"connector": {"num_queries": 1.5}}, "connector.num_queries"),
        ({"connector": {"num_queries": True}}, "connector.num_queries"),
    ],
)
def test_the_message_names_the_place(cfg, path):
    (message,) = problems({"llm": "a", **cfg}, Config)
    assert message.startswith(f"{path}: ")


def test_sections_of_other_libraries_are_checked_by_them():
    asked = []

    def foreign(owner, cfg, path):
        asked.append((owner, cfg, path))
        return [f"{path}.x: wrong"]

    assert problems({"llm": "a", "trainer": {"x": 1}}, Config, foreign) == ["trainer.x: wrong"]
    assert asked == [("trainer", {"x": 1}, "trainer")]


def test_names_of_a_foreign_dataclass_are_followed_inwards():
    cfg = {"llm": 3, "connector": {"num_queris": 1}, "nix": 1}
    found = list(unknown_names(cfg, Config, "exp_manager"))
    assert [message.split(":")[0] for message in found] == ["exp_manager.nix", "exp_manager.connector.num_queris"]


def test_from_dict_builds_the_tree_with_defaults():
    config = from_dict(Config, {"llm": "a", "other": {"num_queries": 2}, "several": [{"dropout": 0.5}]})
    assert config == Config("a", other=Connector(2), several=[Connector(dropout=0.5)])


def test_from_dict_refuses_what_check_refuses():
    with pytest.raises(ConfigError, match="llm: missing"):
        from_dict(Config, {})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_keys = st.sampled_from(["llm", "kind", "layers", "connector", "other", "several", "free", "trainer", "lmm", ""])


@given(st.dictionaries(_keys, _json))
def test_any_tree_is_either_accepted_or_explained(cfg):
    found = problems(cfg, Config)
    if not found:
        assert isinstance(from_dict(Config, cfg), Config)
    assert all(": " in message for message in found)
