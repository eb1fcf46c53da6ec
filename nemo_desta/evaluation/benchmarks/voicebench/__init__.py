"""VoiceBench: spoken questions to an assistant, nine sets, seven ways to score (MatthewCYM/VoiceBench)."""

from collections.abc import Sequence
from pathlib import Path

from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.benchmarks.voicebench import layout, results, scoring, verdicts
from nemo_desta.evaluation.benchmarks.voicebench.sets import SETS
from nemo_desta.evaluation.items import Answer, Data
from nemo_desta.evaluation.scores import Scores

__all__ = ["BENCHMARK", "VoiceBench"]


class VoiceBench:
    """See `nemo_desta.evaluation.benchmarks.Benchmark`."""

    name = "voicebench"
    rules = scoring.RULES
    subsets = tuple(SETS)
    download = layout.DOWNLOAD

    def load(self, source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
        """See `Benchmark.load`: parquet files as the hub serves them; their audio goes to work/audio."""
        return layout.load(source, work, subsets)

    def protocol(self, clone: Path) -> dict[str, str]:
        """See `Benchmark.protocol`: the two prompts of api_judge.py."""
        return verdicts.protocol(clone)

    def read(self, path: Path) -> list[Answer]:
        """See `Benchmark.read`: what main.py writes, or api_judge.py with its scores."""
        return results.read(path)

    def score(self, answers: Sequence[Answer], context: Context) -> Scores:
        """See `Benchmark.score`."""
        return scoring.score(answers, context)


BENCHMARK = VoiceBench()
