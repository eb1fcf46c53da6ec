"""Dynamic-SUPERB's instances: a task on a data set, with its dimension (phase 1), its kind of answer and its metric (phase 2)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import yaml

from nemo_desta.errors import EvaluationError

__all__ = [
    "DIMENSIONS",
    "Instance",
    "all_instances",
    "asked",
    "instance",
    "item_id",
    "kind_and_metric",
    "listed",
    "table",
]

DIMENSIONS = {
    "CON": "content", "SEM": "semantics", "PAR": "paralinguistics", "DEG": "degradation", "SPK": "speaker", "AUD": "audio",
}  # fmt: skip
_KINDS = {
    "classification": ("accuracy", "acc"),
    "regression": ("mse", "mae", "lcc", "pcc", "srcc", "ktau"),
    "generation": ("wer", "cer", "per"),
}
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
_FOLD = re.compile(r"-Fold\d+$")
_SEVERAL = "-multiaudio"


@dataclass(frozen=True)
class Instance:
    """A task on a data set.

    Attributes:
        name: as the hub has it, `<task>_<data set>`.
        task, dataset: its parts.
        dimension: a key of `DIMENSIONS`; None outside phase 1.
        category: classification, regression, generation, sound; what its answers are.
        metric: of phase 2, lower case; None where it is not known.
        needs_audio: whether its questions have audio.
    """

    name: str
    task: str
    dataset: str
    dimension: str | None
    category: str
    metric: str | None
    needs_audio: bool = True

    @property
    def first_phase(self) -> bool:
        """Whether it is one of the 55."""
        return self.dimension is not None

    @property
    def whole(self) -> str:
        """The name without its fold."""
        return _FOLD.sub("", self.name)


@cache
def table(name: str) -> dict[str, Any]:
    """The content of `<name>.yaml` beside this module; do not change it."""
    return yaml.safe_load(files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def all_instances() -> tuple[str, ...]:
    """The 55 of phase 1, dimension by dimension."""
    return tuple(name for names in table("instances")["dimensions"].values() for name in names)


@cache
def instance(name: str) -> Instance:
    """What is known of an instance, whichever of its names is given; one that is not known is of phase 2, and classification.

    Older results have the same parts in another order and without hyphens ("NoiseDetectiongaussian_LJSpeechMusan"): an instance of
    phase 1 is known by its letters, whatever their order.

    Raises:
        EvaluationError: the name is empty.
    """
    if not name.strip():
        raise EvaluationError("an instance of Dynamic-SUPERB has no name; name its folder or file <task>_<data set>.")
    plain = name.removesuffix(_SEVERAL)
    official = _by_letters().get(_letters(plain))
    known = (official or plain) + name[len(plain) :]
    task, _, dataset = known.partition("_")
    whole = _FOLD.sub("", known)
    return Instance(
        known, task, dataset or task, _found("dimensions", official), _found("categories", whole) or "classification",
        _found("metrics", whole), whole not in table("instances")["no_audio"],
    )  # fmt: skip


def listed(names: Sequence[str]) -> str:
    """Some names in a sentence: the first five, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def _found(section: str, name: str | None) -> str | None:
    return next((key for key, names in table("instances")[section].items() if name in names), None)


def _letters(name: str) -> str:
    return "".join(sorted(c for c in name.lower() if c.isalnum()))


@cache
def _by_letters() -> dict[str, str]:
    return {_letters(name): name for name in all_instances()}


def asked(about: Instance, row: Mapping[str, Any]) -> str:
    """What is asked beside the audio: the instruction and, in phase 1, the text that it speaks of ("does the speech match the text?").

    The benchmark's own baseline (multimodal-llama) gives both; phase 2's scripts give the instruction alone.
    """
    text = row.get("text")
    if about.first_phase and isinstance(text, str) and text.strip() and text.strip() not in row["instruction"]:
        return f"{row['instruction']}\n{text}"
    return row["instruction"]


def kind_and_metric(fields: Mapping[str, Any], about: Instance) -> tuple[str, str | None]:
    """Kind of answer and metric of an item: by its instance.json (`metrics`), else by the table.

    Args:
        fields: of the item; `metrics`: names, the first counts.
    """
    stated = fields.get("metrics")
    names: Sequence[Any] = [stated] if isinstance(stated, str) else stated or []
    for name in names:
        metric = str(name).lower()
        kind = next((k for k, metrics in _KINDS.items() if metric in metrics), about.category)
        return kind, "accuracy" if metric == "acc" else metric
    return about.category, "accuracy" if about.category == "classification" else about.metric


def item_id(about: Instance, row: Mapping[str, Any], key: str, stated: str, where: str) -> str:
    """`<instance>/<file>`, without folder, `<instance>_` before it and audio suffix: the same for each of the layouts.

    Args:
        row: `file` (or `file1`) is the data's own name of the item.
        key: name in metadata.json or in a file of predictions, where the row has none.
        stated: the instance's name as the layout has it.

    Raises:
        EvaluationError: there is no name.
    """
    own = row.get("file") or row.get("file1") or key
    name = PurePosixPath(str(own).replace("\\", "/")).name
    for prefix in (f"{stated}_", f"{about.name}_"):
        name = name.removeprefix(prefix)
    if name.lower().endswith(_SUFFIXES):
        name = name[: name.rindex(".")]
    if not name:
        raise EvaluationError(f"{where}: has no name; an item of Dynamic-SUPERB is known by its 'file'.")
    return f"{about.name}/{name}"
