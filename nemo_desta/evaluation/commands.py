"""What the verbs of `nemo-desta eval` do."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.benchmarks import get_benchmark, get_rule
from nemo_desta.evaluation.prepared import check_version, load_data, prepare, summary
from nemo_desta.evaluation.scores import read_scores, write_scores
from nemo_desta.evaluation.scoring import score_file, table

__all__ = ["compare_command", "prepare_command", "report_command", "rules_command", "score_command"]


def prepare_command(name: str, source: str | None, output: str | None, subsets: Sequence[str]) -> None:
    """Say what to download, or check a download, or check it and write its questions."""
    benchmark = get_benchmark(name)
    if source is None:
        click.echo(benchmark.download)
    elif output is None:
        with tempfile.TemporaryDirectory() as work:
            click.echo(summary(benchmark, load_data(benchmark, Path(source), Path(work), subsets)))
    else:
        click.echo(summary(benchmark, prepare(benchmark, Path(source), Path(output), subsets)))
        click.echo(f"{output}: give it as benchmarks.{name}.data")


def score_command(
    name: str,
    path: str,
    rule: str | None,
    judge: str | None,
    data: str | None,
    protocol: str | None,
    options: Sequence[str],
    json_file: str | None,
    judge_cache: str | None,
    max_judge_failed: int,
    data_version: str | None,
) -> None:
    """Score a file or folder, print the table, write scores.json."""
    from nemo_desta.evaluation.judging.options import judge_from_spec

    benchmark = get_benchmark(name)
    get_rule(benchmark, rule)
    target = Path(path)
    cache = (
        Path(judge_cache) if judge_cache else (target if target.is_dir() else target.parent) / ".judge_replies.jsonl"
    )
    asked = judge_from_spec(judge, cache) if judge else None
    with tempfile.TemporaryDirectory() as work:
        known = check_version(load_data(benchmark, Path(data), Path(work)), data_version) if data else None
    clone = Path(protocol) if protocol else None
    scores = score_file(name, target, rule, asked, known, clone, _pairs(options), max_judge_failed)
    click.echo(table(scores))
    if json_file:
        write_scores(Path(json_file), scores)


def _pairs(options: Sequence[str]) -> dict[str, str]:
    pairs = [option.partition("=") for option in options]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise ConfigError(f"--option {key!r}: write NAME=VALUE.")
    return {key: value for key, _, value in pairs}


def report_command(scores: Sequence[str], output: str, audio_root: str | None) -> None:
    """The page and the Markdown table of scores.json files."""
    from nemo_desta.evaluation.report import write_markdown, write_report

    files = [f for name in scores for f in _scores_files(Path(name))]
    page = write_report(files, Path(output), Path(audio_root) if audio_root else None)
    write_markdown(files, page.with_suffix(".md"))
    click.echo(f"{page}: open it in a browser; {page.with_suffix('.md')}: the table")


def _scores_files(path: Path) -> list[Path]:
    found = sorted(path.rglob("scores.json")) if path.is_dir() else [path]
    if not found:
        raise ConfigError(f"{path}: holds no scores.json; give what `nemo-desta eval score --json` wrote.")
    return found


def compare_command(first: str, second: str, allow_partial: bool, json_file: str | None) -> None:
    """Paired comparison of two scores.json files."""
    from nemo_desta.evaluation.comparing import compare

    result = compare(read_scores(Path(first)), read_scores(Path(second)), allow_partial=allow_partial)
    click.echo(str(result))
    if json_file:
        Path(json_file).write_text(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def rules_command(name: str) -> None:
    """The rules of a benchmark."""
    for number, rule in enumerate(get_benchmark(name).rules):
        kind = "official" if rule.official else "not official"
        click.echo(f"{rule.name}{' (default)' if number == 0 else ''}, {kind}: {rule.what}")
