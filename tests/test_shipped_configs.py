"""The YAMLs in conf/ have not drifted from the code that reads them, and the examples name them rightly."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nemo_desta import paths
from nemo_desta.cli import CONFIG_VERBS, EVAL
from nemo_desta.configs import available_configs, load_config
from nemo_desta.errors import ConfigError
from nemo_desta.nemo_sections import nemo_problems

EXAMPLES = sorted(paths.examples_dir().glob("*.py"))
TRAINING = [
    name
    for name in available_configs()
    if re.search(r"\n(trainer:|  - desta25_)", (paths.conf_dir() / f"{name}.yaml").read_text(encoding="utf-8"))
]


def schema_of(verb: str) -> type:
    return import_module(CONFIG_VERBS[verb][0]).SCHEMA


def missing_values(name: str) -> list[str]:
    """An override for every value that the YAML leaves to the user."""
    return [f"++{key}=x" for key in sorted(OmegaConf.missing_keys(OmegaConf.load(paths.conf_dir() / f"{name}.yaml")))]


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        *((verb, default) for verb, (_, default, _) in CONFIG_VERBS.items() if verb != "train"),
        *(("train", name) for name in TRAINING),
    ],
)
def test_every_key_of_a_configuration_is_known_to_the_code_that_reads_it(verb, name):
    load_config(name, missing_values(name), schema=schema_of(verb), foreign=nemo_problems)


def test_every_key_of_an_evaluation_is_known_and_another_is_refused():
    module, name = EVAL
    schema, overrides = import_module(module).SCHEMA, missing_values(name)
    load_config(name, overrides, schema=schema)
    with pytest.raises(ConfigError, match=r"benchmarks\.sakura\.no_such_key: unknown key"):
        load_config(name, [*overrides, "benchmarks.sakura.no_such_key=1"], schema=schema)


@pytest.mark.parametrize("verb", CONFIG_VERBS)
def test_a_key_that_does_not_exist_is_refused(verb):
    default = CONFIG_VERBS[verb][1]
    with pytest.raises(ConfigError, match="no_such_key: unknown key"):
        load_config(default, [*missing_values(default), "no_such_key=1"], schema=schema_of(verb))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_run_what_the_verbs_run(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    tree = ast.parse(text)
    imported = {
        (node.module, alias.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    (call,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_script"
    ]
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    default = arguments["default_config"].value
    assert default in available_configs()
    modules = [module for module, name, *_ in (*CONFIG_VERBS.values(), EVAL) if name == default]
    if modules:
        assert any({(module, "run"), (module, "SCHEMA")} <= imported for module in modules)
    assert "schema" in arguments


@pytest.mark.parametrize(
    "path", [paths.conf_dir() / f"{name}.yaml" for name in available_configs()], ids=lambda p: p.stem
)
def test_configurations_open_with_a_comment_that_says_how_to_launch(path: Path):
    assert path.read_text(encoding="utf-8").startswith("# ")
