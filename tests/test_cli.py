"""The console answers at once, hands each verb's arguments on, and tells users' errors in one message."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from nemo_desta import cli
from nemo_desta.configs import available_configs
from nemo_desta.errors import AudioError

CONFIG_VERBS = [
    "attributes",
    "calibrate",
    "export",
    "generate",
    "import-aqa5m",
    "pack",
    "selfgen",
    "selfgen-ppl",
    "train",
]
VERBS = sorted([*CONFIG_VERBS, "chat", "demo", "eval", "prepare", "prompts", "selfgen-merge", "view"])
HEAVY = ["torch", "nemo", "lightning", "lhotse", "transformers", "numpy", "hydra", "matplotlib"]


@pytest.fixture
def calls(monkeypatch):
    """Replaces the functions behind the verbs; calls["module.function"] = (args, kwargs)."""
    seen = {}

    def stand_in(module: str, name: str):
        return lambda *args, **kwargs: seen.update({f"{module}.{name}": (args, kwargs)})

    monkeypatch.setattr(cli, "_function", stand_in)
    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace())
    return seen


@pytest.fixture
def yaml(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: {b: 1}\n")
    return path


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(argv))
    return exit_.value.code


def test_help_imports_nothing_heavy_and_answers_fast():
    code = (
        "import json, sys\nfrom nemo_desta import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        f"json.dump([m for m in {HEAVY} if m in sys.modules], sys.stderr)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []
    assert time.perf_counter() - start < 5  # 0.2 s on an idle machine; this one may be busy
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


def test_importing_the_package_imports_nothing_heavy():
    code = f"import json, sys, nemo_desta\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_verbs_are_these():
    assert sorted(cli.console.commands) == VERBS


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "prepare"])
def test_every_verb_has_help(verb):
    done = CliRunner().invoke(cli.console, [verb, "--help"], obj={})
    assert done.exit_code == 0
    assert f"console {verb}" in done.output
    for option in ("--config-name", "--config-path", "--print-config") if verb in CONFIG_VERBS else ():
        assert option in done.output


def test_prepare_hands_everything_to_the_recipes(monkeypatch):
    seen = []
    recipes = SimpleNamespace(main=lambda args, **kwargs: seen.append(args))
    monkeypatch.setattr(cli, "_function", lambda module, name: recipes)
    assert run("prepare", "desta-mini", "--help") == 0
    assert run("prepare", "desta-mini", "out", "-n", "5", "--seed=3") == 0
    assert seen == [["prepare", "desta-mini", "--help"], ["prepare", "desta-mini", "out", "-n", "5", "--seed=3"]]


def test_demo_passes_its_budget(calls):
    assert run("demo", "--output-dir", "x", "--full") == 0
    assert calls["nemo_desta.demo.run.run_demo"] == (("x",), {"full": True})


@pytest.mark.parametrize("verb", CONFIG_VERBS)
def test_config_verbs_compose_and_hand_over(calls, yaml, verb):
    assert run(verb, f"--config-name={yaml}", "a.b=2", "+c=3") == 0
    ((args, kwargs),) = calls.values()
    assert args == ({"a": {"b": 2}, "c": 3},)
    assert kwargs == {}


def test_print_config_runs_nothing(calls, yaml, capsys):
    assert run("train", "--config-name", str(yaml), "--print-config", "a.b=5") == 0
    assert capsys.readouterr().out == "a:\n  b: 5\n"
    assert calls == {}


def test_an_unknown_key_ends_with_one_message(calls, yaml, capsys):
    assert run("train", f"--config-name={yaml}", "a.colour=2") == 2
    assert capsys.readouterr().err == (
        "error: the command line has 1 mistake:\n  - a.colour: unknown key; known here: b\n"
    )
    assert calls == {}


def test_an_unknown_configuration_ends_with_one_message(calls, capsys, tmp_path):
    assert run("train", "--config-name=nowhere", f"--config-path={tmp_path}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no configuration 'nowhere' in")
    assert "Traceback" not in error


def test_a_users_error_is_one_message_and_debug_raises_it(monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise AudioError("clip.wav: holds no samples; record it again")

    monkeypatch.setattr(cli, "_function", lambda module, name: broken)
    assert run("demo") == 2
    assert capsys.readouterr().err == "error: clip.wav: holds no samples; record it again\n"
    with pytest.raises(AudioError):
        cli.main(["--debug", "demo"])


def test_a_bug_is_not_hidden(monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("x")

    monkeypatch.setattr(cli, "_function", lambda module, name: broken)
    with pytest.raises(KeyError):
        cli.main(["demo"])


def test_interruption_says_so(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_function", lambda module, name: interrupted)
    assert run("demo") == 130
    assert "interrupted" in capsys.readouterr().err


def test_chat_passes_clips_and_options(calls, tmp_path):
    clip = tmp_path / "a.wav"
    clip.touch()
    assert run("chat", str(clip), "--model", "m", "-q", "Who?", "--transcript", "hi") == 0
    args, kwargs = calls["nemo_desta.serving.chat.run_chat"]
    assert args == ("m", (str(clip),))
    assert kwargs == {
        "question": ("Who?",),
        "llm": None,
        "encoder": None,
        "transcript": ("hi",),
        "system": None,
        "max_new_tokens": 128,
        "dtype": None,
        "device": "auto",
    }


def functions_behind_the_verbs() -> list[tuple[str, str]]:
    """(module, function) of every verb, as cli.py names them."""
    calls = [node for node in ast.walk(ast.parse(Path(cli.__file__).read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "id", "") == "_function"]
    constants = [
        tuple(argument.value for argument in call.args if isinstance(argument, ast.Constant)) for call in named
    ]
    fixed = [pair for pair in constants if len(pair) == 2]
    return [*fixed, *((module, "run") for module, _, _ in cli.CONFIG_VERBS.values())]


@pytest.mark.parametrize(("module", "function"), functions_behind_the_verbs())
def test_the_function_behind_a_verb_exists(module, function):
    source = Path(cli.__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    body = ast.parse(source.read_text()).body
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    imported = {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert function in defined | imported


@pytest.mark.parametrize("verb", CONFIG_VERBS)
def test_the_default_configuration_of_a_verb_exists(verb):
    assert cli.CONFIG_VERBS[verb][1] in available_configs()


def test_wrong_usage_exits_with_2(capsys):
    assert run("chat") == 2
    assert run("nonsense") == 2
    assert run("chat", "/nowhere/a.wav", "--model", "m") == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_schema_of_the_verbs_module_is_used(monkeypatch, yaml, capsys):
    from dataclasses import dataclass

    @dataclass
    class Schema:
        b: int = 0

    monkeypatch.setattr(cli, "_function", lambda module, name: pytest.fail)
    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(SCHEMA=Schema))
    assert run("train", f"--config-name={yaml}") == 2
    assert "a: unknown key; known here: b" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(cli.evaluate.commands))
def test_every_verb_of_eval_has_help(verb):
    done = CliRunner().invoke(cli.console, ["eval", verb, "--help"], obj={})
    assert done.exit_code == 0
    assert f"console eval {verb}" in done.output


def test_score_hands_over_what_others_rely_on(calls, tmp_path):
    target = str(tmp_path / "out.json")
    assert (
        run("eval", "score", "mmau", target, "--rule", "model_output", "--judge", "replay:x", "--json", "o.json") == 0
    )
    args, options = calls["nemo_desta.evaluation.commands.score_command"]
    assert args == ("mmau", target)
    assert (options["rule"], options["judge"], options["json_file"]) == ("model_output", "replay:x", "o.json")


@pytest.mark.parametrize("verb", ["run", "predict"])
def test_eval_run_and_predict_compose_and_hand_over(calls, yaml, verb):
    assert run("eval", verb, f"--config-name={yaml}", "a.b=2") == 0
    ((cfg,), _) = calls[f"nemo_desta.evaluation.run.{'run' if verb == 'run' else 'predict_only'}"]
    assert cfg.a.b == 2
