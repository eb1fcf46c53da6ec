"""Which scores belong together: one section a benchmark and rule, our runs in it by what they hear."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import BENCHMARKS
from nemo_desta.evaluation.scores import Scores, read_scores

__all__ = ["TITLES", "Run", "read_runs"]

TITLES = {
    "mmau": "MMAU", "sakura": "SAKURA", "speech_ifeval": "Speech-IFEval", "voicebench": "VoiceBench",
    "dynamic_superb": "Dynamic-SUPERB",
}  # fmt: skip
_DEAF = {
    "cascade": "same language model, a transcript in the audio's place",
    "backbone": "same language model, no audio",
    "oracle": "same language model, the reference text in the audio's place",
}
_WHAT = {"desta": "our model", "endpoint": "endpoint that takes audio", **_DEAF}
_ORDER = ("desta", "endpoint", "", "cascade", "backbone", "oracle")


@dataclass(frozen=True)
class Run:
    """One scores.json.

    Attributes:
        label: the predictor's name, with its folder where several share it.
        what: in words; "" where the name says nothing.
        hears: False for those that get text in the audio's place.
        path: of the file.
    """

    label: str
    what: str
    hears: bool
    scores: Scores
    path: Path

    @property
    def name(self) -> str:
        """The predictor's name."""
        return _name(self.scores)


def read_runs(files: Sequence[Path]) -> dict[tuple[str, str], list[Run]]:
    """Runs by (benchmark, rule), benchmarks in their usual order; in each those that hear first, ours before others.

    Raises:
        EvaluationError: no file, a file there twice, or one that is no scores.json.
    """
    twice = [str(f) for f, n in Counter(Path(f).resolve() for f in files).items() if n > 1]
    if not files or twice:
        raise EvaluationError(
            f"{twice[0]}: given twice." if twice else "there are no scores to report; give scores.json files."
        )
    read = [(Path(f), read_scores(Path(f))) for f in files]
    empty = next((path for path, scores in read if not scores.metrics), None)
    if empty is not None:
        raise EvaluationError(f"{empty}: holds no figure; score the answers again.")
    found: dict[tuple[str, str], list[tuple[Path, Scores]]] = {}
    for path, scores in read:
        found.setdefault((scores.benchmark, str(scores.rule.get("name"))), []).append((path, scores))
    order = {name: n for n, name in enumerate(BENCHMARKS)}
    return {k: _runs(found[k]) for k in sorted(found, key=lambda k: order.get(k[0], len(order)))}


def _runs(members: Sequence[tuple[Path, Scores]]) -> list[Run]:
    labels = _labels(members)
    runs = [
        Run(label, _WHAT.get(_name(scores), ""), _name(scores) not in _DEAF, scores, path)
        for label, (path, scores) in zip(labels, members, strict=True)
    ]
    return sorted(runs, key=lambda r: _ORDER.index(r.name) if r.name in _ORDER else _ORDER.index(""))


def _labels(members: Sequence[tuple[Path, Scores]]) -> list[str]:
    """Names; those that are there twice with the folders by which they differ, else numbered."""
    names = [_name(s) for _, s in members]
    counts: Mapping[str, int] = Counter(names)
    labels = []
    for name, (path, _) in zip(names, members, strict=True):
        label = (
            name
            if counts[name] == 1
            else f"{name} ({_distinct(path, [p for n, (p, _) in zip(names, members, strict=True) if n == name])})"
        )
        labels.append(label if label not in labels else f"{label} {len(labels) + 1}")
    return labels


def _distinct(path: Path, others: Sequence[Path]) -> str:
    """The first part of a path in which it differs from all others of its name."""
    for n, part in enumerate(path.parts):
        if sum(p.parts[n : n + 1] == (part,) for p in others) == 1:
            return part
    return path.stem


def _name(scores: Scores) -> str:
    return str(scores.predictor.get("name") or "unnamed")
