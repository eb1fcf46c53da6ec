"""The sets of VoiceBench: how many questions, how they are scored, where they stand in the leaderboard."""

from dataclasses import dataclass

__all__ = ["FIGURES", "SETS", "SUBJECTS", "Figure", "QuestionSet"]

SUBJECTS = (
    "biology", "business", "chemistry", "economics", "engineering", "health", "history", "law", "other", "philosophy",
    "physics", "psychology",
)  # fmt: skip


@dataclass(frozen=True)
class QuestionSet:
    """One set.

    Attributes:
        name: of the configuration on the hub, and in the names of the official files.
        size: published number of questions in a split (in all splits where `group` is "subject"); None: not published.
        rule: how it is scored: open, qa, mcq, ifeval, bbh, harm.
        columns: that it must have beside prompt and audio.
        group: what its splits are; "" where there is one split, `test`.
        splits: how many splits were published.
    """

    name: str
    size: int | None
    rule: str
    columns: tuple[str, ...] = ()
    group: str = ""
    splits: int = 1


_LETTER = ("reference",)
_IFEVAL = ("key", "instruction_id_list", "kwargs")

SETS = {
    s.name: s
    for s in (
        QuestionSet("alpacaeval", 199, "open"),
        QuestionSet("alpacaeval_full", 636, "open"),
        QuestionSet("alpacaeval_speaker", None, "open", group="speaker"),
        QuestionSet("commoneval", 200, "open"),
        QuestionSet("wildvoice", 1000, "open"),
        QuestionSet("sd-qa", 553, "qa", ("reference",), "region", 11),
        QuestionSet("mmsu", 3074, "mcq", _LETTER, "subject", 12),
        QuestionSet("openbookqa", 455, "mcq", _LETTER),
        QuestionSet("bbh", 1000, "bbh", ("id", "reference")),
        QuestionSet("ifeval", 345, "ifeval", _IFEVAL),
        QuestionSet("advbench", 520, "harm"),
    )
}


@dataclass(frozen=True)
class Figure:
    """One of the nine columns of the leaderboard.

    Attributes:
        name: of the metric.
        sets: it is computed from the first of these of which there are answers.
        weight: what it is multiplied by in the overall mean: 20 for a scale of 1 to 5.
    """

    name: str
    sets: tuple[str, ...]
    weight: float = 1.0


FIGURES = (
    Figure("alpacaeval", ("alpacaeval_full", "alpacaeval"), 20.0),
    Figure("commoneval", ("commoneval",), 20.0),
    Figure("wildvoice", ("wildvoice",), 20.0),
    Figure("sd-qa", ("sd-qa",)),
    Figure("mmsu", ("mmsu",)),
    Figure("openbookqa", ("openbookqa",)),
    Figure("bbh", ("bbh",)),
    Figure("ifeval", ("ifeval",)),
    Figure("advbench", ("advbench",)),
)
"""In the order of the leaderboard; overall = mean of weight x figure, advbench as a percentage."""
