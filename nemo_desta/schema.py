"""Checking a configuration against a dataclass: every mistake reported at once, each with the nearest known key.

A schema is a plain dataclass that stands beside the class it configures:

    @dataclass
    class PromptConfig:
        pool: str = "speech"
        '''Name of the prompt pool under conf/prompts/.'''

    @dataclass
    class SelfGenConfig:
        manifest: str                                # no default: the user has to give it
        prompts: PromptConfig = field(default_factory=PromptConfig)
        temperature: float = 0.05
        trainer: dict = section("trainer")           # belongs to somebody else, see `section`
"""

import dataclasses
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nemo_desta.errors import ConfigError

__all__ = ["check", "from_dict", "problems", "raise_all", "section", "suggest", "unknown_keys", "unknown_names"]

T = TypeVar("T")
ForeignCheck = Callable[[str, Mapping[str, Any], str], Iterable[str]]
"""(owner, section, dotted path of the section) -> messages."""

_FOREIGN = "nemo_desta.foreign_section"


def section(owner: str, **kwargs: Any) -> Any:
    """Dataclass field of a section whose keys another library defines.

    Args:
        owner: the name under which `foreign` (see `problems`) knows the section's keys.
        kwargs: passed to `dataclasses.field`; default: an empty dict.
    """
    if "default" not in kwargs and "default_factory" not in kwargs:
        kwargs["default_factory"] = dict
    return dataclasses.field(metadata={_FOREIGN: owner}, **kwargs)


def check(
    cfg: Mapping[str, Any], schema: type, what: str = "the configuration", foreign: ForeignCheck | None = None
) -> None:
    """Raise one ConfigError that lists everything wrong with `cfg`; see `problems`.

    Args:
        what: how the message calls `cfg`.
    """
    raise_all(problems(cfg, schema, foreign), what)


def raise_all(found: list[str], what: str = "the configuration") -> None:
    """Raise one ConfigError that lists `found`; do nothing when it is empty."""
    if found:
        mistakes = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
        raise ConfigError(f"{what} has {mistakes}:\n" + "\n".join(f"  - {p}" for p in found))


def problems(cfg: Mapping[str, Any], schema: type, foreign: ForeignCheck | None = None) -> list[str]:
    """Everything wrong with `cfg`: unknown keys, missing keys, values of another type. Empty when all is well.

    Args:
        cfg: plain nested dict (`OmegaConf.to_container`).
        schema: dataclass.
        foreign: checks the sections of other libraries (see `section`); None: they are not checked here.
    """
    return list(_Walk(_paths(schema), foreign).dataclass_(cfg, schema, ""))


def from_dict(schema: type[T], cfg: Mapping[str, Any]) -> T:
    """The dataclass that `cfg` describes, nested ones built too, defaults filled in.

    Raises:
        ConfigError: `problems(cfg, schema)` finds any.
    """
    check(cfg, schema)
    return _build(schema, cfg)


def suggest(key: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Ending of a message about a mistyped key or name: a sibling spelled alike, or the same key in another section."""
    names = sorted(known)
    close = get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    homes = [path for path in elsewhere if path.rpartition(".")[2] == key]
    if homes:
        return f"; it belongs to '{homes[0]}'"
    return f"; known here: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def unknown_keys(
    cfg: Mapping[str, Any], known: Iterable[str], path: str, elsewhere: Iterable[str] = ()
) -> Iterator[str]:
    """One message for each key of the section `cfg` (at the dotted `path`) that is not in `known`."""
    known = set(known)
    for key in cfg:
        if key not in known:
            yield f"{_join(path, str(key))}: unknown key{suggest(str(key), known, elsewhere)}"


def unknown_names(cfg: Mapping[str, Any], schema: type, path: str) -> Iterator[str]:
    """Unknown keys of a section that another library's dataclass describes, nested ones followed.

    Names only: other libraries' annotations are often looser or stricter than what they accept.
    """
    hints = get_type_hints(schema)
    yield from unknown_keys(cfg, {f.name for f in dataclasses.fields(schema)}, path)
    for key, value in cfg.items():
        nested = _dataclass_in(hints.get(key))
        if nested and isinstance(value, Mapping):
            yield from unknown_names(value, nested, _join(path, key))


class _Walk:
    """One pass over a configuration; the generators yield messages."""

    def __init__(self, known_paths: list[str], foreign: ForeignCheck | None) -> None:
        self.known_paths = known_paths
        self.foreign = foreign

    def dataclass_(self, cfg: Any, schema: type, path: str) -> Iterator[str]:
        if not isinstance(cfg, Mapping):
            yield f"{path}: must be a section with keys, got {_show(cfg)}"
            return
        hints = get_type_hints(schema)
        fields = {f.name: f for f in dataclasses.fields(schema)}
        yield from unknown_keys(cfg, fields, path, self.known_paths)
        for name, field in fields.items():
            here = _join(path, name)
            if name not in cfg:
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                    yield f"{here}: missing, and it has no default"
            elif _FOREIGN in field.metadata:
                yield from self.section(cfg[name], field.metadata[_FOREIGN], here)
            else:
                yield from self.value(cfg[name], hints[name], here)

    def section(self, cfg: Any, owner: str, path: str) -> Iterator[str]:
        if cfg is None:
            return
        if not isinstance(cfg, Mapping):
            yield f"{path}: must be a section with keys, got {_show(cfg)}"
        elif self.foreign:
            yield from self.foreign(owner, cfg, path)

    def value(self, value: Any, hint: Any, path: str) -> Iterator[str]:
        origin, args = get_origin(hint), get_args(hint)
        if hint is Any or value == "???":
            return
        if dataclasses.is_dataclass(hint):
            yield from self.dataclass_(value, hint, path)
        elif origin in (Union, types.UnionType):
            yield from self.union(value, hint, path)
        elif origin is Literal:
            if value not in args:
                yield f"{path}: must be one of {', '.join(map(repr, args))}, got {_show(value)}"
        elif origin in (list, tuple) or hint in (list, tuple):
            yield from self.sequence(value, args, path)
        elif origin is dict or hint is dict:
            yield from self.mapping(value, args, path)
        elif not _is_a(value, hint):
            yield f"{path}: must be {_name(hint)}, got {_show(value)}"

    def union(self, value: Any, hint: Any, path: str) -> Iterator[str]:
        nested = _dataclass_in(hint)
        if nested and isinstance(value, Mapping):
            yield from self.dataclass_(value, nested, path)
        elif not any(not list(self.value(value, option, path)) for option in get_args(hint)):
            yield f"{path}: must be {_name(hint)}, got {_show(value)}"

    def sequence(self, value: Any, args: tuple[Any, ...], path: str) -> Iterator[str]:
        if not isinstance(value, (list, tuple)):
            yield f"{path}: must be a list, got {_show(value)}"
        elif args:
            for i, item in enumerate(value):
                yield from self.value(item, args[0], f"{path}[{i}]")

    def mapping(self, value: Any, args: tuple[Any, ...], path: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{path}: must be a section with keys, got {_show(value)}"
        elif args:
            for key, item in value.items():
                yield from self.value(item, args[1], _join(path, str(key)))


def _is_a(value: Any, hint: Any) -> bool:
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _name(hint: Any) -> str:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return " or ".join("null" if o is type(None) else str(o) if get_origin(o) else o.__name__ for o in options)


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass that `hint` is, or that is one option of it."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((o for o in options if isinstance(o, type) and dataclasses.is_dataclass(o)), None)


def _paths(schema: type, prefix: str = "") -> list[str]:
    """Dotted names of every key that `schema` knows."""
    hints = get_type_hints(schema)
    found = []
    for field in dataclasses.fields(schema):
        here = _join(prefix, field.name)
        found.append(here)
        nested = _dataclass_in(hints[field.name])
        if nested:
            found.extend(_paths(nested, here))
    return found


def _build(schema: type[T], cfg: Mapping[str, Any]) -> T:
    hints = get_type_hints(schema)
    return schema(**{key: _build_value(hints[key], value) for key, value in cfg.items()})


def _build_value(hint: Any, value: Any) -> Any:
    nested = _dataclass_in(hint)
    if nested and isinstance(value, Mapping):
        return _build(nested, value)
    args = get_args(hint)
    if get_origin(hint) is list and isinstance(value, list) and _dataclass_in(args[0]):
        return [_build_value(args[0], item) for item in value]
    if get_origin(hint) is dict and isinstance(value, Mapping) and _dataclass_in(args[1]):
        return {key: _build_value(args[1], item) for key, item in value.items()}
    return value
