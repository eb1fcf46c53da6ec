"""Every command written in the README, in docs/ and at the head of a YAML fits the console: verbs, options, keys."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from nemo_desta import paths
from nemo_desta.cli import CONFIG_VERBS, EVAL, console, evaluate
from nemo_desta.configs import load_config
from nemo_desta.nemo_sections import nemo_problems

ROOT = Path(__file__).parents[1]


def _readme_commands() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    blocks = re.findall(r"```bash\n(.*?)```", "\n".join(texts), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.startswith("nemo-desta ")]


def _yaml_commands() -> list[str]:
    found = []
    for path in sorted(paths.conf_dir().glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        found += [
            line.strip() for line in re.findall(r"^# +(?:Launch: +|then +)(nemo-desta [^\n(]+)", text, re.MULTILINE)
        ]
    return found


COMMANDS = [c.split(" or:")[0] for c in [*_readme_commands(), *_yaml_commands()]]


def test_commands_are_found():
    assert len(_readme_commands()) >= 12
    assert len(_yaml_commands()) >= 4


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_fits_the_console(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.wav").touch()  # chat asks for files that exist, view for a folder
    (tmp_path / "records" / "train").mkdir(parents=True)
    verb, *arguments = shlex.split(command)[1:]
    assert verb in console.commands
    group, verbs = console, CONFIG_VERBS
    if verb == "eval":
        group, verbs = evaluate, dict.fromkeys(("run", "predict"), EVAL)
        verb, *arguments = arguments
        assert verb in group.commands
        for folder in ("A", "B", "evaluation"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "scores.json").touch()
    if verb in verbs:
        module, config, *_ = verbs[verb]
        overrides = [a for a in arguments if not a.startswith("--")]
        named = [a.partition("=")[2] for a in arguments if a.startswith("--config-name=")]
        load_config(
            named[0] if named else config, overrides, schema=import_module(module).SCHEMA, foreign=nemo_problems
        )
    elif group is not console or verb != "prepare":
        group.commands[verb].make_context(verb, arguments)
