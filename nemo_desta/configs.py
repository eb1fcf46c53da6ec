"""Configurations: found by name, composed by Hydra with overrides, checked, and handed to a function `run(cfg)`.

The console verbs and the scripts in examples/ share this path:

    from nemo_desta.configs import run_script
    run_script(run, default_config="desta_smol", schema=TrainConfig)     # reads --config-name, key=value, ...

A key that does not exist is an error wherever it stands, in the YAML or on the command line; all of them are reported
at once. `key=value` needs no `+` for a key that the schema knows and the YAML leaves out.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_desta.errors import ConfigError, DeSTAError, PreemptedError
from nemo_desta.paths import conf_dir
from nemo_desta.quiet import quiet_known_noise
from nemo_desta.schema import ForeignCheck, problems, raise_all, suggest

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["available_configs", "load_config", "run_script", "told"]

_OVERRIDES = "the command line"


def load_config(
    name: str,
    overrides: Sequence[str] = (),
    config_path: str | Path | None = None,
    schema: type | None = None,
    foreign: ForeignCheck | None = None,
) -> "DictConfig":
    """Compose the configuration `name` with Hydra and check all of it.

    Args:
        name: of a YAML in `config_path`, or the path of a YAML file. A YAML of the user's own may name ours under
            `defaults:`.
        overrides: in Hydra's grammar: `trainer.max_steps=10`, `+new=1`, `~gone`.
        config_path: folder; default: the one that travels with the package.
        schema: dataclass of the whole configuration (see `nemo_desta.schema`). Without it, only overrides are checked,
            against the keys of the YAML.
        foreign: checks sections of other libraries: `nemo_desta.nemo_sections.nemo_problems`, which imports NeMo.

    Raises:
        ConfigError: no such configuration, an override that cannot be parsed, unknown or mistyped keys, or values that
            the YAML leaves to the user (`???`) and that were not given.
    """
    from omegaconf import OmegaConf

    folder, stem = _locate(name, config_path)
    parsed = _parse(overrides)
    if schema is None:
        base = OmegaConf.to_container(_compose(folder, stem, []), resolve=False)
        raise_all([p for override in parsed for p in _unknown_override(override, base, folder)], _OVERRIDES)
    late = [override for override in parsed if _shadowed(override, folder)]
    cfg = _compose(folder, stem, [_forced(override, folder) for override in parsed if override not in late])
    found = [p for override in late for p in _apply(cfg, override, folder)]
    plain = _plain(cfg)
    found += [f"{key}: has no value yet; give it as {key}=..." for key in sorted(OmegaConf.missing_keys(cfg))]
    if schema is not None:
        found += problems(plain, schema, foreign)
    raise_all(found, f"the configuration '{name}'")
    return cfg


def available_configs(config_path: str | Path | None = None) -> list[str]:
    """Names that `load_config` knows in a folder."""
    return sorted(path.stem for path in Path(config_path or conf_dir()).glob("*.yaml"))


def run_script(
    run: Callable[["DictConfig"], Any],
    default_config: str,
    schema: type | None = None,
    foreign: ForeignCheck | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """Body of an example script: read the command line, load the configuration, call `run(cfg)`.

    A DeSTAError ends the process with one message and its exit code; `--debug` shows its traceback.
    """
    parser = ArgumentParser(
        description=(run.__doc__ or "").strip(),
        epilog="configurations: " + ", ".join(available_configs()),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-name", default=default_config, help="name or path of a YAML (default: %(default)s)")
    parser.add_argument("--config-path", help="folder of the YAML (default: the one of the package)")
    parser.add_argument("--print-config", action="store_true", help="print the composed configuration and stop")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="override in Hydra's grammar")
    args = parser.parse_args(argv)
    quiet_known_noise()
    try:
        cfg = load_config(args.config_name, args.overrides, args.config_path, schema, foreign)
        if args.print_config:
            print_config(cfg)
        else:
            run(cfg)
    except DeSTAError as error:
        if args.debug:
            raise
        sys.stderr.write(f"{told(error)}\n")
        sys.exit(error.exit_code)


def told(error: DeSTAError) -> str:
    """The one message that an error becomes on the console."""
    return str(error) if isinstance(error, PreemptedError) else f"error: {error}"


def print_config(cfg: "DictConfig") -> None:
    """Write `cfg` to standard output as YAML."""
    from omegaconf import OmegaConf

    sys.stdout.write(OmegaConf.to_yaml(cfg))


def _locate(name: str, config_path: str | Path | None) -> tuple[Path, str]:
    """Folder and name of the YAML that is meant."""
    as_file = Path(name)
    if config_path is None and as_file.suffix in (".yaml", ".yml") and as_file.is_file():
        return as_file.resolve().parent, as_file.stem
    folder = Path(config_path).resolve() if config_path else conf_dir()
    if not folder.is_dir():
        raise ConfigError(f"the configuration folder {folder} does not exist")
    stem = name.removesuffix(".yaml")
    if not (folder / f"{stem}.yaml").is_file():
        known = available_configs(folder)
        near = get_close_matches(stem, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"
        raise ConfigError(f"no configuration '{name}' in {folder}; {hint}")
    return folder, stem


def _compose(folder: Path, name: str, overrides: Sequence[str]) -> "DictConfig":
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    search = [] if folder == conf_dir() else [f"hydra.searchpath=[file://{conf_dir()}]"]
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return compose(name, overrides=[*search, *overrides])
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"the configuration '{name}' in {folder} cannot be composed: {error}") from error


def _plain(cfg: "DictConfig") -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"a reference in the configuration cannot be resolved: {error}") from error


def _parse(overrides: Sequence[str]) -> list[Any]:
    """Hydra's `Override` objects; every override that cannot be read is reported."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed, found = [], []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            override = None
        if override is None or not override.key_or_group:
            found.append(f"{text}: not an override; write key=value, +key=value or ~key, with quotes around odd text")
            continue
        if override.is_sweep_override():
            found.append(f"{text}: several values; write a list as key=[a,b]")
        parsed.append(override)
    raise_all(found, _OVERRIDES)
    return parsed


def _choices(override: Any, folder: Path) -> list[str]:
    """YAMLs of the sub-folder that carries the override's name (one of Hydra's config groups), if there is one."""
    folders = {root / override.key_or_group for root in (folder, conf_dir())}
    return sorted({path.stem for root in folders for path in root.glob("*.yaml")})


def _is_group(override: Any, folder: Path) -> bool:
    """Whether `key=value` chooses a YAML of a sub-folder."""
    return override.package is not None or str(override.value()) in _choices(override, folder)


def _shadowed(override: Any, folder: Path) -> bool:
    """Whether Hydra would take `key=value` for a choice although it is a value: a sub-folder has the key's name."""
    return _is_change(override) and not _is_group(override, folder) and bool(_choices(override, folder))


def _apply(cfg: "DictConfig", override: Any, folder: Path) -> list[str]:
    """Set a shadowed `key=value`; a message when it was meant as a choice and there is no such YAML."""
    from omegaconf import DictConfig, OmegaConf

    key, value = override.key_or_group, override.value()
    if isinstance(OmegaConf.select(cfg, key), DictConfig) and isinstance(value, str):
        return [f"{key}={value}: no such choice{suggest(value, _choices(override, folder))}"]
    OmegaConf.update(cfg, key, value, merge=True, force_add=True)
    return []


def _is_change(override: Any) -> bool:
    """Whether it is a plain `key=value`, without `+`, `++` or `~`."""
    from hydra.core.override_parser.types import OverrideType

    return override.type is OverrideType.CHANGE


def _forced(override: Any, folder: Path) -> str:
    """`key=value` as `++key=value`: set it whether or not the YAML has it; whoever knows the keys judges the name."""
    return (
        f"++{override.input_line}" if _is_change(override) and not _is_group(override, folder) else override.input_line
    )


def _unknown_override(override: Any, base: Mapping[str, Any], folder: Path) -> list[str]:
    """A message when `key=value` names a key that `base` does not have."""
    if not _is_change(override) or _is_group(override, folder):
        return []
    here: Any = base
    parts = override.key_or_group.split(".")
    for i, part in enumerate(parts):
        if isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
            continue
        if not isinstance(here, Mapping) or part not in here:
            known = here if isinstance(here, Mapping) else ()
            return [f"{'.'.join(parts[: i + 1])}: unknown key{suggest(part, known)}"]
        here = here[part]
    return []
