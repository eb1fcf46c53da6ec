"""The wheel is complete: without a clone it holds the examples and configurations, and names what it imports."""

import ast
import email
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["nemo_desta", "conf", "examples", "setup.py", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The unpacked wheel, built from a copy so that the clone stays clean."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "-w", str(work), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(work.glob("*.whl"))) as archive:
        archive.extractall(work / "site")
    return work / "site"


@pytest.fixture(scope="module")
def requirements(wheel):
    metadata = email.message_from_string(next(wheel.glob("*.dist-info/METADATA")).read_text(encoding="utf-8"))
    return [Requirement(text) for text in metadata.get_all("Requires-Dist")]


def files(folder: Path, *suffixes: str) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix in suffixes}


def test_wheel_holds_every_configuration_example_and_module(wheel):
    conf, examples = files(ROOT / "conf", ".yaml"), files(ROOT / "examples", ".py")
    assert conf
    assert examples
    assert files(wheel / "nemo_desta" / "conf", ".yaml") == conf
    assert files(wheel / "nemo_desta" / "examples", ".py") == examples
    assert files(wheel / "nemo_desta" / "examples", ".sh", ".sbatch") == files(ROOT / "examples", ".sh", ".sbatch")
    modules = files(wheel / "nemo_desta", ".py")
    assert {m for m in modules if not m.startswith("examples/")} == files(ROOT / "nemo_desta", ".py")


def test_wheel_holds_the_packages_data_files(wheel):
    suffixes = (".yaml", ".json", ".txt", ".html", ".css", ".js", ".svg")
    packed = {name for name in files(wheel / "nemo_desta", *suffixes) if not name.startswith("conf/")}
    assert packed == files(ROOT / "nemo_desta", *suffixes)


def test_wheel_brings_nothing_else(wheel):
    top = {path.name for path in wheel.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"nemo_desta"}


def test_installed_wheel_finds_its_own_files(wheel, tmp_path):
    code = "from nemo_desta import paths; print(paths.conf_dir()); print(paths.examples_dir())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(wheel / "nemo_desta" / name) for name in ("conf", "examples")]


def test_installed_wheel_composes_every_configuration(wheel, tmp_path):
    code = (
        "import sys\nfrom nemo_desta.configs import available_configs, load_config\n"
        "from nemo_desta.errors import ConfigError\n"
        "for name in available_configs():\n"
        "    try:\n        load_config(name)\n"
        "    except ConfigError as error:\n"
        "        assert 'has no value yet' in str(error), (name, str(error))\n"
        "print(len(available_configs()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(wheel)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_both_console_commands_are_declared(wheel):
    scripts = next(wheel.glob("*.dist-info/entry_points.txt")).read_text()
    assert "nemo-desta = nemo_desta.cli:main" in scripts
    assert "desta-lhotse = nemo_desta.recipes.commands:cli" in scripts


def test_every_import_belongs_to_a_declared_requirement(requirements):
    declared = {canonicalize_name(r.name) for r in requirements if r.marker is None or "test" not in str(r.marker)}
    owners = packages_distributions()
    missing = {}
    for path in [*(ROOT / "nemo_desta").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]:
        for name in imported(path) - set(sys.stdlib_module_names) - {"nemo_desta"}:
            if not declared & {canonicalize_name(owner) for owner in owners.get(name, [name])}:
                missing.setdefault(name, str(path.relative_to(ROOT)))
    assert missing == {}


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_constraints_pin_every_requirement_within_its_range(requirements):
    pins = constraints()
    for requirement in requirements:
        if requirement.marker and "test" not in str(requirement.marker):
            continue  # optional backends are not part of the tested set
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(version), f"{requirement} does not admit the pinned {version}"


def test_constraints_are_plain_pins():
    text = (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 100
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
    assert len(constraints()) == len(lines)


def constraints() -> dict[str, str]:
    pairs = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in (ROOT / "nemo_desta").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
