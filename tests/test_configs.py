"""Configurations are found, composed with overrides, and refused with every mistake named."""

from dataclasses import dataclass, field

import pytest

from nemo_desta import configs
from nemo_desta.configs import load_config, run_script
from nemo_desta.errors import ConfigError, RecordError


@dataclass
class Prompts:
    pool: str = "speech"
    count: int = 1


@dataclass
class Model:
    llm: str = "a"
    num_queries: int = 64


@dataclass
class Config:
    model: Model = field(default_factory=Model)
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    output: str | None = None
    extra: str | None = None


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A package folder conf/ with a group `prompts` and a folder that has the name of the key `seed`."""
    root = tmp_path / "conf"
    for folder in ("prompts", "seed"):
        (root / folder).mkdir(parents=True)
    (root / "base.yaml").write_text("defaults:\n  - prompts: speech\n  - _self_\nmodel: {llm: tiny}\nseed: 1\n")
    (root / "needs.yaml").write_text("output: ???\nmodel: {llm: '???'}\n")
    (root / "prompts" / "speech.yaml").write_text("pool: speech\n")
    (root / "prompts" / "sound.yaml").write_text("pool: sound\ncount: 3\n")
    (root / "seed" / "template.yaml").write_text("x: 1\n")
    monkeypatch.setattr(configs, "conf_dir", lambda: root)
    return root


def test_overrides_reach_the_configuration(conf):
    cfg = load_config("base", ["model.llm=other", "prompts=sound", "+extra=x"], schema=Config)
    assert cfg == {"model": {"llm": "other"}, "prompts": {"pool": "sound", "count": 3}, "seed": 1, "extra": "x"}


def test_a_key_of_the_schema_needs_no_plus(conf):
    assert load_config("base", ["model.num_queries=8"], schema=Config).model.num_queries == 8


def test_a_key_named_like_a_folder_of_conf_is_still_a_value(conf):
    assert load_config("base", ["seed=7"], schema=Config).seed == 7


def test_unknown_keys_of_yaml_and_command_line_are_reported_together(conf):
    (conf / "wrong.yaml").write_text("modell: {}\nmodel: {llm: a, lm: b}\n")
    with pytest.raises(ConfigError) as error:
        load_config("wrong", ["sed=3", "num_queries=2"], schema=Config)
    text = str(error.value)
    assert "'wrong' has 4 mistakes" in text
    for message in (
        "modell: unknown key; did you mean 'model'?",
        "model.lm: unknown",
        "sed: unknown key; did you mean",
    ):
        assert message in text
    assert "num_queries: unknown key; it belongs to 'model.num_queries'" in text


def test_without_a_schema_overrides_are_checked_against_the_yaml(conf):
    with pytest.raises(ConfigError) as error:
        load_config("base", ["modle.llm=x", "prompts.pol=y"])
    assert "modle: unknown key; did you mean 'model'?" in str(error.value)
    assert "prompts.pol: unknown key; did you mean 'pool'?" in str(error.value)


def test_values_left_to_the_user_are_asked_for_all_at_once(conf):
    with pytest.raises(ConfigError) as error:
        load_config("needs", schema=Config)
    assert "model.llm: has no value yet; give it as model.llm=" in str(error.value)
    assert "output: has no value yet" in str(error.value)
    assert load_config("needs", ["output=x", "model.llm=y"], schema=Config).output == "x"


@pytest.mark.parametrize("override", ["a='", "=", "seed=1,2"])
def test_an_override_that_cannot_be_read_is_quoted(conf, override):
    with pytest.raises(ConfigError, match="the command line has 1 mistake") as error:
        load_config("base", [override], schema=Config)
    assert override in str(error.value)


def test_an_unknown_choice_names_the_near_one(conf):
    with pytest.raises(ConfigError, match="prompts=speach: no such choice; did you mean 'speech'"):
        load_config("base", ["prompts=speach"], schema=Config)


def test_an_unknown_configuration_names_the_near_one(conf):
    with pytest.raises(ConfigError, match="no configuration 'bse' in .*; did you mean 'base'"):
        load_config("bse")
    with pytest.raises(ConfigError, match="folder .* does not exist"):
        load_config("base", config_path=conf / "nowhere")


def test_a_broken_yaml_is_the_users_error(conf):
    (conf / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="broken"):
        load_config("broken")


def test_an_unresolvable_reference_is_the_users_error(conf):
    (conf / "dangling.yaml").write_text("output: ${nowhere.at.all}\n")
    with pytest.raises(ConfigError, match="nowhere"):
        load_config("dangling", schema=Config)


def test_a_file_of_the_users_own_may_build_on_ours(conf, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults:\n  - base\n  - _self_\nmodel: {llm: mine}\n")
    assert load_config(str(mine), schema=Config).model.llm == "mine"
    assert load_config("mine", config_path=tmp_path, schema=Config).seed == 1


def test_run_script_hands_the_configuration_over(conf):
    seen = []
    run_script(seen.append, "base", Config, argv=["model.llm=z", "--config-name=base"])
    assert seen[0].model.llm == "z"


def test_run_script_tells_a_users_error_in_one_message(conf, capsys):
    def run(cfg):
        raise RecordError("data.jsonl:3: no 'id'")

    with pytest.raises(SystemExit) as exit_:
        run_script(run, "base", Config, argv=[])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: data.jsonl:3: no 'id'\n"
    with pytest.raises(RecordError):
        run_script(run, "base", Config, argv=["--debug"])


def test_run_script_prints_the_configuration_instead_of_running(conf, capsys):
    run_script(lambda cfg: pytest.fail("ran"), "base", Config, argv=["--print-config", "seed=9"])
    assert "seed: 9" in capsys.readouterr().out
