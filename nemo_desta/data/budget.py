"""A token budget that holds for every batch.

Lhotse's own looks whether one more example of the longest length so far would fit, adds the next one, whatever its length,
and takes a batch for full of padding even where it is packed into one row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lhotse import CutSet
from lhotse.dataset import SamplingConstraint

from nemo_desta.data.conversation import ConversationGroup

__all__ = ["TokenBudget", "within"]


@dataclass
class TokenBudget(SamplingConstraint):
    """Bounds the tokens of a batch as it will be laid out: all of one packed row, or rows times the longest.

    Attributes:
        tokens: the budget.
        examples: most examples a batch, None for no such limit.
        quadratic_factor: a conversation of L tokens counts as L + L^2 / quadratic_factor; None: as L.
        packed: whether the batch will be one row without padding.
    """

    tokens: int
    examples: int | None = None
    quadratic_factor: float | None = None
    packed: bool = False

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._count = self._rows = self._most_rows = 0
        self._total = self._largest = self._longest = 0.0

    def add(self, example: Any) -> None:
        sizes = [self._size(m) for m in getattr(example, "members", [example])]
        self._count, self._rows, self._total = self._count + 1, self._rows + len(sizes), self._total + sum(sizes)
        self._most_rows, self._largest = max(self._most_rows, len(sizes)), max(self._largest, sum(sizes))
        self._longest = max(self._longest, *sizes)

    def exceeded(self) -> bool:
        return self._over(0)

    def close_to_exceeding(self) -> bool:
        """Whether one more example like the largest so far would be too much."""
        return self._over(1)

    def measure_length(self, example: Any) -> float:
        return example.total_length

    def _size(self, conversation: Any) -> float:
        length = conversation.total_length
        return length if self.quadratic_factor is None else length + length**2 / self.quadratic_factor

    def _over(self, more: int) -> bool:
        if self.examples is not None and self._count + more > self.examples:
            return True
        padded = (self._rows + more * self._most_rows) * self._longest
        return (self._total + more * self._largest if self.packed else padded) > self.tokens


def within(budget: SamplingConstraint | None, batch: CutSet) -> Iterator[CutSet]:
    """The batch, or its parts where it exceeds the budget: short and long examples apart."""
    if not isinstance(budget, TokenBudget):
        yield batch
        return
    for part in _parts(budget.copy(), list(batch)):
        yield CutSet(part)


def _parts(budget: TokenBudget, examples: Sequence[Any]) -> list[list[Any]]:
    budget.reset()
    for example in examples:
        budget.add(example)
    if not budget.exceeded():
        return [list(examples)]
    if len(examples) == 1:
        (example,) = examples
        if len(getattr(example, "members", [])) < 2:
            return [[example]]
        examples = [ConversationGroup([m], example.custom) for m in example.members]
    ordered, half = sorted(examples, key=budget.measure_length), len(examples) // 2
    return _parts(budget, ordered[:half]) + _parts(budget, ordered[half:])
