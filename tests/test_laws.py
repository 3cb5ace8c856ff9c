"""The laws of the house: layers, names, what is imported where, what may not stand in the repository."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conf import bootstrap
from conf.settings import ROOT

BREACHES = [
    ("conf", "schemas.records"),
    ("schemas", "conf.settings"),
    ("models", "conf.settings"),
    ("models", "pyspark"),
    ("lake", "jobs.registry"),
    ("streaming", "lake.catalog"),
    ("jobs", "streaming.topics"),
    ("jobs", "models.world"),
    ("airflow_dags", "jobs.runner"),
    ("web", "streaming.clients"),
    ("demo", "pyflink"),
    ("schemas", "bench.loop"),
    ("models", "tests.fixtures.stack"),
    ("lake", "kernel.build"),
    ("jobs", "matinee"),
]
# Folders whose files are started as scripts or loaded by path: their modules are met as top-level ones.
SCRIPT_FOLDERS = (".", "airflow_dags", "streaming/jobs")
NOT_PACKAGES = {"docs", "notebooks", "requirements", "var", "dist"}
BLOCKER = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked: this module must be importable without an engine")

sys.meta_path.insert(0, Blocker())
failed = []
for module in {modules!r}:
    try:
        importlib.import_module(module)
    except ImportError as error:
        failed.append(f"{{module}}: {{error}}")
print("\\n".join(failed))
sys.exit(bool(failed))
"""


def tracked() -> list[Path]:
    """Files that git knows or would add: what a clone gets."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def packages() -> list[str]:
    """Top-level folders with Python modules, found, not listed."""
    names = {path.relative_to(ROOT).parts[0] for path in tracked() if path.suffix == ".py"}
    return sorted(
        name for name in names if (ROOT / name).is_dir() and not name.startswith(".") and name not in NOT_PACKAGES
    )


def modules(package: str) -> list[str]:
    """Dotted names of every module below a package."""
    found = []
    for path in tracked():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.suffix == ".py" and ".".join(parts).startswith(f"{package}."):
            found.append(".".join(parts).removesuffix(".__init__"))
    return sorted(set(found))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    return subprocess.run([str(program), "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True)


def test_every_package_is_under_the_layer_law() -> None:
    law = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(packages()) == set(law["root_packages"])


def test_the_layer_law_holds() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_breach_turns_it_red(tmp_path: Path) -> None:
    law = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    for path in tracked():
        relative = path.relative_to(ROOT)
        if path.suffix == ".py" and relative.parts[0] in law["root_packages"]:
            (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tmp_path / relative)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    for number, (package, module) in enumerate(BREACHES):
        (tmp_path / package / f"breach{number}.py").write_text(f"import {module}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    told = [f"{package}.breach{number} -> {module}" for number, (package, module) in enumerate(BREACHES)]
    assert [line for line in told if line not in done.stdout] == []


def imports_by_string(text: str) -> list[int]:
    """Lines that import a module whose name only the run knows, which the layer law cannot see."""
    called = {"import_module", "__import__", "exec", "eval"}
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr" if isinstance(node.func, ast.Attribute) else "id", "") in called
        and not (isinstance(node.func, ast.Attribute) and node.func.attr in {"exec", "eval"})
    ]


def test_nothing_is_imported_by_string_behind_the_law() -> None:
    """The runner loads the job it is asked for from its own room; the front door is above all rooms."""
    law = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    found = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in {*law["root_packages"]} - {"tests"}
        if (lines := imports_by_string(path.read_text()))
    }
    assert list(found) == ["jobs/runner.py"]
    assert len(found["jobs/runner.py"]) == 1
    assert 'import_module(f"jobs.{' in (ROOT / "jobs" / "runner.py").read_text()
    for breach in ("importlib.import_module('streaming')", "__import__('jobs')", "exec('import lake')"):
        assert imports_by_string(breach) == [1], breach


@pytest.mark.parametrize("environment", sorted(bootstrap.FOLDERS))
def test_our_top_level_names_are_ours_alone(environment: str) -> None:
    folder = ROOT / bootstrap.FOLDERS[environment]
    if not folder.exists():
        pytest.skip(f"{folder.name} is not set up")
    (site,) = folder.glob("lib/python3.*/site-packages")
    theirs = {
        path.name.partition(".")[0]
        for path in site.iterdir()
        if path.suffix in ("", ".py", ".so") and path.name[0] != "_"
    }
    assert not theirs & {*packages(), "matinee"}


def test_nothing_met_at_top_level_has_the_name_of_a_standard_module() -> None:
    own = {path.stem for path in tracked() for folder in SCRIPT_FOLDERS if path.parent == ROOT / folder}
    assert not {*own, *packages()} & set(sys.stdlib_module_names)


def test_schemas_models_and_the_registry_need_no_engine() -> None:
    wanted = [*modules("schemas"), *modules("models"), "jobs.registry", "matinee"]
    program = BLOCKER.format(blocked={"pyspark", "pyflink", "mlflow", "py4j"}, modules=wanted)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(wanted) > 20


@pytest.mark.airflow
def test_every_dag_needs_no_engine(tmp_path: Path) -> None:
    python = ROOT / bootstrap.FOLDERS["airflow"] / "bin" / "python"
    if not python.exists():
        pytest.fail("the airflow environment is not set up: make test does it")
    program = BLOCKER.format(
        blocked={"pyspark", "pyflink", "mlflow", "py4j", "numpy", "pandas"}, modules=modules("airflow_dags")
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([str(python), "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_repository_names_no_host_of_a_registry_and_no_place_of_this_machine() -> None:
    words = [
        "repo1" + ".maven",
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry.npmjs" + ".org",
        "/work" + "/",
        "/root" + "/",
    ]
    found = []
    for path in tracked():
        if path.suffix in {".png", ".npz", ".parquet", ".jar"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert found == []


def test_every_locked_requirement_has_a_hash_and_no_address() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, path.name
        blocks = [block for block in re.split(r"\n(?=\S)", text.strip()) if not block.startswith("#")]
        assert blocks
        assert all(
            re.match(r"[a-z0-9._-]+(\[[a-z,-]+\])?==\S+", block) and "--hash=sha256:" in block for block in blocks
        ), path.name


def test_every_make_target_has_a_line_of_help() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in phony[1].split():
        assert re.search(rf"^make {target} +\S", shown, re.MULTILINE), target
