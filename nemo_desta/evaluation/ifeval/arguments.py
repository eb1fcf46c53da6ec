"""What an instruction's `kwargs` say. Google's code draws what is missing at random; here that is an error."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemo_desta.errors import EvaluationError

__all__ = ["Arguments"]

_RELATIONS: dict[str, Callable[[int, int], bool]] = {"less than": operator.lt, "at least": operator.ge}


@dataclass(frozen=True)
class Arguments:
    """The arguments of one instruction.

    Attributes:
        instruction_id: for messages.
        values: as the data has them; keys of other instructions (null in the hub's copies) are not looked at.
    """

    instruction_id: str
    values: Mapping[str, Any]

    def number(self, name: str) -> int:
        """A number, 0 or more. A float without a fraction will do: parquet and pandas write 3 as 3.0."""
        value = self.values.get(name)
        whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1
        if not whole or value < 0:
            raise self._lacking(name, "a number, 0 or more")
        return int(value)

    def text(self, name: str) -> str:
        """A text."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self._lacking(name, "a text")
        return value

    def texts(self, name: str) -> Sequence[str]:
        """One or more texts."""
        value = self.values.get(name)
        if not isinstance(value, (list, tuple)) or not value or not all(isinstance(v, str) for v in value):
            raise self._lacking(name, "a list of texts")
        return value

    def compare(self, actual: int, number: str, relation: str = "relation") -> bool:
        """`actual` against a number: "less than" is <, "at least" is >=."""
        said = self.values.get(relation)
        if said not in _RELATIONS:
            raise self._lacking(relation, " or ".join(map(repr, _RELATIONS)))
        return _RELATIONS[said](actual, self.number(number))

    def pattern(self, expression: str) -> re.Pattern[str]:
        """A pattern that the data spells (keywords are patterns officially), case ignored."""
        try:
            return re.compile(expression, re.IGNORECASE)
        except re.error as err:
            raise EvaluationError(
                f"{self.instruction_id}: {expression!r} is no regular expression ({err}), and the official checker takes it "
                "for one; escape it in the data."
            ) from err

    def _lacking(self, name: str, wanted: str) -> EvaluationError:
        return EvaluationError(
            f"{self.instruction_id}: {name} must be {wanted}, it is {self.values.get(name)!r} (the official code would draw "
            "one at random); take kwargs as the benchmark publishes them."
        )
