"""Dynamic-SUPERB: instructions on speech, sound and music, one instance for each task and data set (dynamic-superb/dynamic-superb)."""

from collections.abc import Sequence
from pathlib import Path

from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.benchmarks.dynamic_superb import answers as files
from nemo_desta.evaluation.benchmarks.dynamic_superb import layout, scoring
from nemo_desta.evaluation.benchmarks.dynamic_superb.finding import DOWNLOAD
from nemo_desta.evaluation.benchmarks.dynamic_superb.instances import all_instances
from nemo_desta.evaluation.items import Answer, Data
from nemo_desta.evaluation.scores import Scores

__all__ = ["BENCHMARK", "DynamicSuperb"]


class DynamicSuperb:
    """See `nemo_desta.evaluation.benchmarks.Benchmark`."""

    name = "dynamic_superb"
    rules = scoring.RULES
    subsets = all_instances()
    download = DOWNLOAD

    def load(self, source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
        """See `Benchmark.load`: folders of the preprocess scripts, or the hub's parquet; instances of phase 2, too."""
        return layout.load(source, work, subsets)

    def protocol(self, clone: Path) -> dict[str, str]:
        """No judge's prompt is published; those used are ours."""
        return {}

    def read(self, path: Path) -> list[Answer]:
        """See `Benchmark.read`: a file for each instance, of phase 1's and phase 2's scripts."""
        return files.read(path)

    def score(self, answers: Sequence[Answer], context: Context) -> Scores:
        """See `Benchmark.score`."""
        return scoring.score(answers, context)


BENCHMARK = DynamicSuperb()
