"""Where the files that travel with the package lie: the same answer in a clone and in an installed wheel."""

from pathlib import Path

from nemo_desta.errors import ConfigError

__all__ = ["conf_dir", "examples_dir"]

_PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """Folder of the YAML configurations (`conf/` of a clone, `nemo_desta/conf/` of a wheel).

    Raises:
        ConfigError: the installation lacks it.
    """
    return _find("conf")


def examples_dir() -> Path:
    """Folder of the example scripts (`examples/` of a clone, `nemo_desta/examples/` of a wheel).

    Raises:
        ConfigError: the installation lacks it.
    """
    return _find("examples")


def _find(name: str) -> Path:
    installed = _PACKAGE / name
    if installed.is_dir():
        return installed
    clone = _PACKAGE.parent
    if (clone / "setup.py").is_file() and (clone / name).is_dir():
        return clone / name
    raise ConfigError(
        f"the folder {name}/ of nemo_desta is neither at {installed} nor at {clone / name}: "
        "install nemo-desta again, or run from a complete clone"
    )
