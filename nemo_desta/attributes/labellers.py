'''Labellers: models of any kind that say something about clips. `asr` is ours; others are named by the user.

A labeller is a function of a batch of clips (and of options, by keyword) that gives one mapping of fields for each. The
fields `text`, `gender`, `language` and `speaker` go to the supervision, all others to its `custom`; the seed mapping
(conf/seed/) decides which of them are shown to the LLM. This file, somewhere on the Python path,

    from functools import lru_cache

    @lru_cache(maxsize=1)
    def _model(threshold):                       # loaded once in each process; put the real one here
        return lambda audio: "Calm" if abs(audio).max() < threshold else "Excited"

    def label(clips, threshold=0.5):
        """16 kHz mono float32 in, fields out; nothing ({}) for what is no speech."""
        return [{"emotion": _model(threshold)(clip.audio)} if clip.domain == "speech" else {} for clip in clips]

is used by `labellers: [my_labels:label]`, or with options by `labellers: [asr, {name: my_labels:label, threshold: 0.4}]`.
Labellers run in the given order; each sees what those before it found. They run in every process of `num_jobs`, so one
that needs a GPU is run with `num_jobs=1`. The named module is imported and run: name only code that you trust.
'''

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from nemo_desta.errors import ConfigError, SelfGenError

__all__ = ["BUILT_IN", "Clip", "Labeller", "load_labellers"]

BUILT_IN = {"asr": "nemo_desta.attributes.asr:label"}
"""Short name -> module:function."""


@dataclass(frozen=True)
class Clip:
    """One span of a cut, as a labeller gets it.

    Attributes:
        cut: the Lhotse cut it belongs to.
        audio: its samples, 16 kHz mono float32 (N,).
        domain: speech, sound or music; None where nothing tells.
        text: its transcript, stated or found by a labeller before; empty if there is none.
        fields: all that is stated about it or was found before.
    """

    cut: Any
    audio: np.ndarray
    domain: str | None
    text: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Labeller:
    """A named labeller that checks what its function gives."""

    name: str
    function: Callable[[Sequence[Clip]], Sequence[Mapping[str, Any]]]

    def __call__(self, clips: Sequence[Clip]) -> list[dict[str, Any]]:
        """Fields of each clip, those without a value left out.

        Raises:
            SelfGenError: the function failed, or gave something else than one mapping of plain values for each clip.
        """
        where = f"labeller {self.name}, cuts {clips[0].cut.id!r} to {clips[-1].cut.id!r}"
        try:
            found = self.function(clips)
        except Exception as err:  # somebody else's code
            raise SelfGenError(f"{where}: {type(err).__name__}: {err}. Finished cuts are kept.") from err
        if not isinstance(found, Sequence) or len(found) != len(clips):
            raise SelfGenError(f"{where}: {len(clips)} clips need a list of as many mappings, it gave {_short(found)}.")
        for fields in found:
            if not isinstance(fields, Mapping) or not all(
                isinstance(k, str) and _is_plain(v) for k, v in fields.items()
            ):
                raise SelfGenError(
                    f"{where}: gave {_short(fields)}; fields are text, numbers, yes or no, or lists of these."
                )
        return [{k: v for k, v in fields.items() if v is not None} for fields in found]


def load_labellers(entries: Sequence[Any]) -> list[Labeller]:
    """The labellers that a configuration names.

    Args:
        entries: each a name, or a mapping of `name` and options. A name is one of `BUILT_IN` or `module:function`.

    Raises:
        ConfigError: no such module or function, or an option that it does not have.
    """
    return [_load(entry) for entry in entries]


def _load(entry: Any) -> Labeller:
    options = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    name = options.pop("name", None)
    target = BUILT_IN.get(name, name) if isinstance(name, str) else None
    module, _, attribute = (target or "").partition(":")
    if not module or not attribute:
        raise ConfigError(
            f"labeller {entry!r}: give {', '.join(BUILT_IN)} or package.module:function, with options as {{name: ..., option: ...}}."
        )
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as err:
        raise ConfigError(
            f"labeller {name!r}: {err}; install its package, or put the module's folder into PYTHONPATH."
        ) from err
    try:
        inspect.signature(function).bind((), **options)
    except TypeError as err:
        raise ConfigError(f"labeller {name!r}: {err}; it is called as function(clips, **options).") from err
    return Labeller(name, partial(function, **options))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(v) for v in value)
    return value is None or type(value) in (str, int, float, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
