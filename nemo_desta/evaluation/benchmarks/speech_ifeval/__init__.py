"""Speech-IFEval: does a model that hears still follow instructions, and what did it forget? (kehanlu/Speech-IFEval)"""

from collections.abc import Sequence
from pathlib import Path

from nemo_desta.evaluation.benchmarks import Context
from nemo_desta.evaluation.benchmarks.speech_ifeval import answers, judged, layout, scoring
from nemo_desta.evaluation.items import Answer, Data
from nemo_desta.evaluation.scores import Scores

__all__ = ["BENCHMARK", "SpeechIfeval"]


class SpeechIfeval:
    """See `nemo_desta.evaluation.benchmarks.Benchmark`."""

    name = "speech_ifeval"
    rules = scoring.RULES
    subsets = layout.PARTS
    download = layout.DOWNLOAD

    def load(self, source: Path, work: Path, subsets: Sequence[str] = ()) -> Data:
        """See `Benchmark.load`: a clone, its data folder, or eval_data itself. Missing audio is a note, not an error."""
        return layout.load(source, subsets)

    def protocol(self, clone: Path) -> dict[str, str]:
        """See `Benchmark.protocol`: the prompts of script/llm_evaluation.py."""
        return judged.protocol(clone)

    def read(self, path: Path) -> list[Answer]:
        """See `Benchmark.read`: outputs/<model>/*.jsonl and the reports beside them."""
        return answers.read(path)

    def score(self, answers: Sequence[Answer], context: Context) -> Scores:
        """See `Benchmark.score`."""
        return scoring.score(answers, context)


BENCHMARK = SpeechIfeval()
