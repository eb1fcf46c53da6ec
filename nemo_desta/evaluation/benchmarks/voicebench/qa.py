"""sd-qa: what do three yes-or-no verdicts say together? (src/evaluator/qa.py)"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Vote", "majority"]


@dataclass(frozen=True)
class Vote:
    """What a judge's replies say together.

    Attributes:
        yes: 1 or 0; a fraction where the official result depends on the order of a Python set.
        tie: whether it does.
    """

    yes: float
    tie: bool = False


def majority(replies: Sequence[str]) -> Vote:
    """Whether the commonest reply, lower-cased, is exactly "yes" ("yes." is another reply, and no yes).

    The official max(set(scores), key=scores.count) takes among equally common replies the first of the set's order, which
    changes from run to run: of k such replies with "yes" among them, 1/k is the expectation.

    Raises:
        ValueError: no replies.
    """
    counts = Counter(reply.lower() for reply in replies)
    most = max(counts.values())
    first = [reply for reply, count in counts.items() if count == most]
    if "yes" not in first:
        return Vote(0.0)
    return Vote(1 / len(first), len(first) > 1)
