"""SAKURA: what a model hears, and whether it can reason from it in a second step (ckyang1124/SAKURA)."""

from collections.abc import Sequence
from pathlib import Path

from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.benchmarks.sakura import layout, scoring
from nemo_desta.evaluation.items import Answer, Data
from nemo_desta.evaluation.scores import Scores

__all__ = ["BENCHMARK", "Sakura"]


class Sakura:
    """See `nemo_desta.evaluation.benchmarks.Benchmark`."""

    name = "sakura"
    rules = scoring.RULES
    subsets = layout.TRACKS
    download = layout.DOWNLOAD

    def load(self, source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
        """See `Benchmark.load`: a clone of the repository, or the four datasets of the hub in folders of their names."""
        return layout.load(source, work, subsets)

    def protocol(self, clone: Path) -> dict[str, str]:
        """See `Benchmark.protocol`: the two texts of evaluation/llm_judge.py."""
        return scoring.protocol(clone)

    def read(self, path: Path) -> list[Answer]:
        """See `Benchmark.read`: result files, before or after the official judge script."""
        return layout.read(path)

    def score(self, answers: Sequence[Answer], context: Context) -> Scores:
        """See `Benchmark.score`."""
        return scoring.score(answers, context)


BENCHMARK = Sakura()
