"""`nemo-desta <verb>`: the console. A verb imports what it needs when it runs, so that `--help` answers at once."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import click

from nemo_desta import __version__
from nemo_desta.configs import load_config, print_config, told
from nemo_desta.errors import DeSTAError
from nemo_desta.quiet import quiet_known_noise

__all__ = ["main"]

_INTERRUPTED = 130
_VERBATIM = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the console and exit: 0 when all went well, 2 for a user's mistake, told in one message, 75 for a training that was
    told to stop and can be continued.

    `--debug`, before the verb, shows the traceback of such an error.
    """
    quiet_known_noise()
    sys.exit(_run(argv))


def _run(argv: Sequence[str] | None) -> int:
    context: dict[str, bool] = {"debug": False}
    try:
        return console.main(args=argv, prog_name="nemo-desta", standalone_mode=False, obj=context) or 0
    except DeSTAError as error:
        if context["debug"]:
            raise
        click.echo(told(error), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return _INTERRUPTED


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="nemo-desta")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def console(context: dict[str, bool], debug: bool) -> None:
    """DeSTA2.5-Audio for NVIDIA NeMo: a frozen language model learns to listen from targets it wrote itself."""
    context["debug"] = debug


@console.command(short_help="The whole method end to end on small real models.")
@click.option("--output-dir", default="demo_output", show_default=True, help="Where everything is written.")
@click.option("--full", is_flag=True, help="The long budget, up to two hours on two cores.")
def demo(output_dir: str, full: bool) -> None:
    """The whole method end to end on small real models, with a report at the end.

    A second run with the same folder reuses what is there.
    """
    _function("nemo_desta.demo.run", "run_demo")(output_dir, full=full)


@console.command(context_settings=_VERBATIM, short_help="Turn a corpus into Lhotse manifests.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def prepare(arguments: tuple[str, ...]) -> None:
    """Turn a corpus into Lhotse manifests: `prepare desta-mini OUTPUT_DIR`, `prepare --help` lists them.

    The same as `desta-lhotse prepare`; stock Lhotse recipes are there too.
    """
    commands = _function("nemo_desta.recipes.commands", "cli")
    commands.main(args=["prepare", *arguments], prog_name="nemo-desta", standalone_mode=False)


def _config_verb(
    name: str, module: str, default_config: str, help_text: str, group: click.Group = console, function: str = "run"
) -> None:
    """Add a verb that composes a YAML and hands it to `function(cfg)` of `module`.

    The dataclass `SCHEMA` of that module, if it has one, says which keys there are.
    """

    @group.command(
        name, help=help_text, short_help=help_text, epilog="Overrides are in Hydra's grammar: trainer.max_steps=10"
    )
    @click.option("--config-name", default=default_config, show_default=True, help="Name, or path, of a YAML.")
    @click.option("--config-path", help="Folder of the YAML. [default: the one of the package]")
    @click.option("--print-config", "only_print", is_flag=True, help="Print the composed configuration and stop.")
    @click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
    def verb(config_name: str, config_path: str | None, only_print: bool, overrides: tuple[str, ...]) -> None:
        if only_print:
            print_config(load_config(config_name, overrides, config_path))
            return
        run = _function(module, function)
        schema = getattr(import_module(module), "SCHEMA", None)
        run(load_config(config_name, overrides, config_path, schema, _nemo_problems if schema else None))


def _nemo_problems(*args: Any) -> Any:
    from nemo_desta.nemo_sections import nemo_problems

    return nemo_problems(*args)


CONFIG_VERBS = {
    "selfgen": (
        "nemo_desta.selfgen.engine",
        "desta_selfgen",
        "Let the language model write its own training targets.",
    ),
    "attributes": (
        "nemo_desta.attributes.run",
        "attributes",
        "Measure what a corpus does not state about its clips: pitch, volume, speed, noise.",
    ),
    "selfgen-ppl": (
        "nemo_desta.selfgen.perplexity",
        "selfgen_ppl",
        "Perplexity of training targets under the backbone.",
    ),
    "pack": ("nemo_desta.records.pack", "pack", "Records and their audio to tar shards, Lhotse Shar, or a folder."),
    "import-aqa5m": (
        "nemo_desta.records.aqa5m",
        "import_aqa5m",
        "The released DeSTA-AQA5M rows and the audio at hand to records.",
    ),
    "train": ("nemo_desta.training.train", "desta_smol", "Train with NeMo's trainer."),
    "calibrate": ("nemo_desta.training.budgets", "desta_smol", "Find the largest batches that fit the memory."),
    "generate": ("nemo_desta.serving.generate", "generate", "Answer the conversations of a JSONL file."),
    "export": ("nemo_desta.serving.export", "export", "Turn a training checkpoint into a model folder."),
}
"""Verbs that hand a configuration to `run(cfg)` of a module: (module, default configuration, help)."""

for _name, _verb in CONFIG_VERBS.items():
    _config_verb(_name, *_verb)


@console.command("selfgen-merge", short_help="Join the shards of a self-generation.")
@click.argument("output_dir", type=click.Path(exists=True, file_okay=False))
def selfgen_merge(output_dir: str) -> None:
    """Join what `selfgen shard=i/n` wrote into OUTPUT_DIR, for every i, and check that no row is missing."""
    click.echo(str(_function("nemo_desta.selfgen.merge", "merge_shards")(output_dir)))


@console.command(short_help="A page to look at what self-generation made.")
@click.argument("output_dir", type=click.Path(exists=True, file_okay=False))
@click.option("--audio-root", help="Folder to which the clip paths are relative. [default: the one of the run]")
@click.option("--rows", default=60, show_default=True, type=click.IntRange(min=1), help="Rows shown in all.")
@click.option("--seed", default=0, show_default=True, help="Another seed shows other rows.")
@click.option("--output", help="The page. [default: OUTPUT_DIR/view.html]")
def view(output_dir: str, **options: Any) -> None:
    """Write one HTML page of sampled rows of OUTPUT_DIR, a self-generation: player, spectrogram, texts, verdicts."""
    page = _function("nemo_desta.view.page", "write_view")(output_dir, **options)
    click.echo(f"{page}: open it in a browser")


@console.group(context_settings={"help_option_names": ["-h", "--help"]})
def prompts() -> None:
    """Look at prompt pools, or make one."""


@prompts.command("stats", short_help="Kinds, duplicates, lengths and vocabulary of pools.")
@click.argument("pools", nargs=-1)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the figures to this file, too.")
def prompts_stats(pools: tuple[str, ...], json_file: str | None) -> None:
    """Kinds, duplicates, lengths and vocabulary of POOLS: names in conf/prompts, or paths. [default: speech sound music]"""
    _function("nemo_desta.selfgen.commands", "prompts_stats")(pools or ("speech", "sound", "music"), json_file)


@prompts.command("import", short_help="Make a pool of the prompts of a DeSTA-format JSONL.")
@click.argument("records", type=click.Path(exists=True, dir_okay=False))
@click.argument("output", type=click.Path(dir_okay=False))
@click.option("--name", help="Of the pool. [default: the stem of OUTPUT]")
@click.option("--kind", default="question", show_default=True, help="Kind of all its prompts.")
@click.option("--domain", "domains", multiple=True, help="Where they fit: speech, sound, music. [default: everywhere]")
def prompts_import(records: str, output: str, **options: Any) -> None:
    """Make the pool OUTPUT (YAML) of the distinct prompts of RECORDS, a DeSTA-format JSONL."""
    _function("nemo_desta.selfgen.commands", "prompts_import")(records, output, **options)


@console.group(
    "eval", context_settings={"help_option_names": ["-h", "--help"]}, short_help="Benchmarks by their official rules."
)
def evaluate() -> None:
    """MMAU, SAKURA, Speech-IFEval, VoiceBench and Dynamic-SUPERB by their official rules: docs/evaluation.md.

    `run` does all of `predict`, `score` and `report`; `score` takes files that others made, too.
    """


EVAL = ("nemo_desta.evaluation.run", "desta_eval")
"""Module and default configuration of `eval run` and `eval predict`."""
_config_verb("run", *EVAL, "Take a model through benchmarks: predict, score, report.", evaluate)
_config_verb("predict", *EVAL, "Let predictors answer the questions; nothing is scored.", evaluate, "predict_only")
_BENCHMARK = click.argument("benchmark")


@evaluate.command("prepare", short_help="What to download; or check a download.")
@_BENCHMARK
@click.argument("source", required=False, type=click.Path())
@click.argument("output", required=False, type=click.Path(file_okay=False))
@click.option("--subset", "subsets", multiple=True, help="Only this one; may be repeated.")
def eval_prepare(benchmark: str, source: str | None, output: str | None, subsets: tuple[str, ...]) -> None:
    """Say what to download for BENCHMARK; with SOURCE, check it; with OUTPUT, write its questions (and packed audio) there.

    BENCHMARK: mmau, sakura, speech_ifeval, voicebench, dynamic_superb.
    """
    _function("nemo_desta.evaluation.commands", "prepare_command")(benchmark, source, output, subsets)


@evaluate.command("score", short_help="Score answers: ours, or files that others made.")
@_BENCHMARK
@click.argument("path", type=click.Path())
@click.option("--rule", help="How to score; `eval rules BENCHMARK` lists them. [default: the first]")
@click.option("--judge", help="Who judges: openai:MODEL[@BASE_URL], local:MODEL, replay:FILE.")
@click.option("--data", type=click.Path(), help="The questions (download or prepared), to find what is missing.")
@click.option("--data-version", metavar="HASH", help="Content hash, or its beginning, that the questions must have.")
@click.option("--protocol", type=click.Path(), help="Clone of the benchmark's repository, for its judge's prompts.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="A setting of this benchmark's scorer.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write scores.json here.")
@click.option(
    "--judge-cache", type=click.Path(dir_okay=False), help="File of the judge's replies. [default: beside PATH]"
)
@click.option("--max-judge-failed", default=0, show_default=True, help="Replies of the judge that may be lacking.")
def eval_score(benchmark: str, path: str, **options: Any) -> None:
    """Score PATH, a file or a folder of answers to BENCHMARK: our predictions, or what the benchmark's own code writes."""
    _function("nemo_desta.evaluation.commands", "score_command")(benchmark, path, **options)


@evaluate.command("rules", short_help="The rules of a benchmark.")
@_BENCHMARK
def eval_rules(benchmark: str) -> None:
    """List the rules of BENCHMARK and how they differ."""
    _function("nemo_desta.evaluation.commands", "rules_command")(benchmark)


@evaluate.command("report", short_help="One page of scores, beside published ones.")
@click.argument("scores", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--output", default="report.html", show_default=True, type=click.Path(dir_okay=False), help="The page.")
@click.option("--audio-root", type=click.Path(file_okay=False), help="Folder of the benchmark's data, for the players.")
def eval_report(scores: tuple[str, ...], output: str, audio_root: str | None) -> None:
    """Write one HTML page, and a Markdown table beside it, of SCORES: scores.json files or folders of them."""
    _function("nemo_desta.evaluation.commands", "report_command")(scores, output, audio_root)


@evaluate.command("compare", short_help="Is one run better than another?")
@click.argument("first", type=click.Path(exists=True, dir_okay=False))
@click.argument("second", type=click.Path(exists=True, dir_okay=False))
@click.option("--allow-partial", is_flag=True, help="Compare the items that both have, and say how many have not.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the comparison here, too.")
def eval_compare(first: str, second: str, allow_partial: bool, json_file: str | None) -> None:
    """Paired comparison of two scores.json: FIRST minus SECOND, with interval and p-value."""
    _function("nemo_desta.evaluation.commands", "compare_command")(first, second, allow_partial, json_file)


@console.command(short_help="Ask questions about recordings.")
@click.argument("audio", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--model", "checkpoint", required=True, help="Model folder, hub id, or training checkpoint (.ckpt).")
@click.option(
    "--question", "-q", multiple=True, help="Ask this, and the next -q after it. [default: questions are typed]"
)
@click.option("--llm", help="Path or hub id in place of the language model that the checkpoint names.")
@click.option("--encoder", help="The same for the Whisper model.")
@click.option(
    "--transcript", multiple=True, help="What is said in each recording, in order. [default: found by Whisper]"
)
@click.option("--system", help="System message. [default: the one that the small models are trained with]")
@click.option("--max-new-tokens", default=128, show_default=True, type=click.IntRange(min=1), help="Longest answer.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Of the frozen weights.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
def chat(audio: tuple[str, ...], checkpoint: str, **options: Any) -> None:
    """Ask questions about recordings: `chat clip.wav --model CHECKPOINT -q "Who speaks?"`.

    Without a recording the language model answers alone.
    """
    _function("nemo_desta.serving.chat", "run_chat")(checkpoint, audio, **options)


def _function(module: str, name: str) -> Callable[..., Any]:
    return getattr(import_module(module), name)


if __name__ == "__main__":
    main()
