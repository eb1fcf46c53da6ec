"""The benchmarks by name. Each is an object with the methods of `Benchmark`, in a module (or package) of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from nemo_desta.errors import ConfigError
from nemo_desta.evaluation.items import Answer, Data
from nemo_desta.evaluation.judging import Judge
from nemo_desta.evaluation.scores import Scores
from nemo_desta.schema import suggest

__all__ = ["BENCHMARKS", "Benchmark", "Context", "Rule", "get_benchmark", "get_rule"]

BENCHMARKS = ("mmau", "sakura", "speech_ifeval", "voicebench", "dynamic_superb")


@dataclass(frozen=True)
class Rule:
    """A way to score.

    Attributes:
        name: as `--rule` takes it.
        what: one line: what it does, and how it differs from the others.
        version: of what it imitates, repository and commit; the package's own version for a rule of ours.
        official: whether the benchmark's authors' code would print this figure on the same answers.
        judge: the model whose verdicts the authors publish; None where the rule asks no judge.
        needs_judge: whether nothing at all can be scored without verdicts.
    """

    name: str
    what: str
    version: str
    official: bool = True
    judge: str | None = None
    needs_judge: bool = False


@dataclass(frozen=True)
class Context:
    """What a scorer works with beside the answers.

    Attributes:
        rule: one of the benchmark's.
        judge: None where none was given.
        data: the benchmark's questions, to find what is missing or of another version; None: the answers stand alone.
        protocol: texts of the benchmark's repository by name (judge prompts), from a clone; see `Benchmark.protocol`.
        options: settings of one benchmark (`--option NAME=VALUE`).
    """

    rule: Rule
    judge: Judge | None = None
    data: Data | None = None
    protocol: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


class Benchmark(Protocol):
    """One benchmark: its data, the formats of its answers, its rules.

    Attributes:
        name: one of `BENCHMARKS`.
        rules: the first is the default.
        subsets: names that `load` can be restricted to, in the order of the benchmark's tables.
        download: what to fetch and where to put it, for a person.
    """

    name: str
    rules: Sequence[Rule]
    subsets: Sequence[str]
    download: str

    def load(self, source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
        """The questions of a download.

        Args:
            source: folder or file as downloaded.
            work: folder for audio that is packed (parquet); nothing is written where audio lies in files.
            subsets: only these; empty: all that are there.

        Raises:
            EvaluationError: the layout is not known (the message holds `download`), columns are missing, ids are
                there twice, audio is missing.
        """

    def protocol(self, clone: Path) -> dict[str, str]:
        """The judge prompts that stand in a clone of the benchmark's repository; {} where it has none.

        Raises:
            EvaluationError: the clone lacks a file or a text.
        """

    def read(self, path: Path) -> list[Answer]:
        """Answers in the formats that the benchmark's own code writes; a file, or a folder of them.

        Raises:
            EvaluationError: no such format, no answers, a damaged line, ids there twice.
        """

    def score(self, answers: Sequence[Answer], context: Context) -> Scores:
        """Apply a rule.

        Raises:
            EvaluationError: the rule asks for a judge or a text that was not given.
        """


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark {name!r}{suggest(name, BENCHMARKS)}")
    return import_module(f"{__name__}.{name}").BENCHMARK


def get_rule(benchmark: Benchmark, name: str | None) -> Rule:
    """A rule by name; None: the default.

    Raises:
        ConfigError: there is none.
    """
    rules: dict[str, Any] = {rule.name: rule for rule in benchmark.rules}
    if name is None:
        return benchmark.rules[0]
    if name not in rules:
        raise ConfigError(f"{benchmark.name}: no rule {name!r}{suggest(name, rules)}")
    return rules[name]
