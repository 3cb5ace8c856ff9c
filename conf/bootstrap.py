"""Set-up: three locked environments, the JVM jars, the kernel, compiled loops.

Needs Python 3.11, a JDK 17 or newer, and nothing else.

``python3.11 -m conf.bootstrap main streaming`` is what ``make setup`` runs. Only the standard library is imported here.
uv, itself locked, is installed by pip into ``var/bootstrap``; it then fills ``.venv``, ``.venv-streaming`` and
``.venv-airflow`` exactly as ``requirements/*.txt`` say, hashes checked. A stamp in each holds the hash of its lock,
so that a second run costs nothing and a changed lock is never missed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conf import java
from conf.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"main": ".venv", "streaming": ".venv-streaming", "airflow": ".venv-airflow"}
STAMP = ".matinee-lock"
FORM = b"3"  # raised when what is written into an environment changes

SCRIPT = """#!{python}
import sys

sys.path.insert(0, {root!r})
from matinee import main

if __name__ == "__main__":  # processes that are spawned import this file anew
    sys.exit(main())
"""

# PySpark's own asks the python3 on PATH where Spark is, which fails outside an activated environment.
SUBMIT = """#!/bin/sh
export SPARK_HOME='{home}'
exec "$SPARK_HOME/bin/spark-submit" "$@"
"""


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def stamp_of(name: str) -> str:
    """The hash that an environment filled from today's lock carries."""
    digest = hashlib.sha256(FORM)
    digest.update((ROOT / "requirements" / f"{name}.txt").read_bytes())
    digest.update(f"{ROOT} {sys.version_info[:2]}".encode())
    return digest.hexdigest()


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def ready(name: str) -> bool:
    """Whether an environment exists and was filled from the lock as it stands."""
    folder = ROOT / FOLDERS[name]
    stamp = folder / STAMP
    return python_of(folder).exists() and stamp.is_file() and stamp.read_text() == stamp_of(name)


def run(command: list[str], what: str) -> None:
    ended(start(command), command, what)


def start(command: list[str]) -> subprocess.Popen[bytes]:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    if "PIP_INDEX_URL" in environment:  # a mirror told to pip is told to uv too
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def ended(process: subprocess.Popen[bytes], command: list[str], what: str) -> None:
    """Wait for a process; what fails is told."""
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code:
        raise SetupError(f"{what} failed with exit code {code}: {' '.join(command)}")


def uv() -> Path:
    """The locked uv, installed if need be."""
    folder = ROOT / "var" / "bootstrap"
    stamp = folder / STAMP
    if not (stamp.is_file() and stamp.read_text() == stamp_of("bootstrap")):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            venv.create(folder, with_pip=True)
        except subprocess.CalledProcessError:
            raise SetupError(
                "this Python cannot make environments with pip: install its venv package (Debian: python3.11-venv)"
            ) from None
        lock = str(ROOT / "requirements" / "bootstrap.txt")
        run(
            [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock], "installing uv"
        )
        stamp.write_text(stamp_of("bootstrap"))
    return folder / "bin" / "uv"


def fill(name: str) -> None:
    """Make one environment exactly what its lock says and put the repository on its path."""
    if ready(name):
        return
    folder = ROOT / FOLDERS[name]
    print(f"set-up: {folder.name} from requirements/{name}.txt", flush=True)
    tool = uv()
    (folder / STAMP).unlink(missing_ok=True)
    if not python_of(folder).exists():
        venv.create(folder, with_pip=False, clear=folder.exists())
    lock = str(ROOT / "requirements" / f"{name}.txt")
    run(
        [
            str(tool),
            "pip",
            "sync",
            "--quiet",
            "--compile-bytecode",
            "--require-hashes",
            "--python",
            str(python_of(folder)),
            lock,
        ],
        f"filling {folder.name}",
    )
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "matinee-root.pth").write_text(f"{ROOT}\n")
    if name == "main":
        write_script(folder / "bin" / "matinee", SCRIPT.format(python=python_of(folder), root=str(ROOT)))
        write_script(folder / "bin" / "spark-submit", SUBMIT.format(home=packages / "pyspark"))
    (folder / STAMP).write_text(stamp_of(name))


def write_script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@contextmanager
def compiled_loops(python: str) -> Iterator[None]:
    """Compile the loops of world and pages ahead of their first day, on a second core while the body runs.

    Numba's caches look at the file of a function alone, not at those it calls into, so that they are thrown away when
    any file of `models` has changed.
    """
    models = ROOT / "models"
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(models.rglob("*.py")))).hexdigest()
    stamp = ROOT / "var" / "build" / "loops.stamp"
    if stamp.is_file() and stamp.read_text() == digest:
        yield
        return
    print("set-up: compiling loops", flush=True)
    for cache in (*models.rglob("__pycache__/*.nbi"), *models.rglob("__pycache__/*.nbc")):
        cache.unlink()
    command = [python, "-m", "models.compile"]
    process = start(command)
    try:
        yield
        ended(process, command, "compiling loops")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(digest)


def check_machine() -> None:
    """Refuse at once what could only fail later with a worse message."""
    if sys.version_info[:2] != (3, 11):
        raise SetupError(
            f"this is Python {sys.version.split()[0]}; the locks need 3.11: run make with PYTHON=python3.11"
        )
    try:
        java.version()
        java.tool("javac")
    except ConfigError as error:
        raise SetupError(str(error)) from None


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in FOLDERS]
    if unknown:
        raise SetupError(f"unknown environment {unknown[0]!r}; there are {', '.join(FOLDERS)}")
    check_machine()
    if "main" not in names:
        for name in names:
            fill(name)
        return 0
    fill("main")
    python = str(python_of(ROOT / FOLDERS["main"]))
    with compiled_loops(python):
        for name in names:
            fill(name)
        run([python, "-m", "conf.jars"], "fetching the jars")
        run([python, "-m", "kernel.build"], "building the kernel")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or ["main", "streaming"]))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: `make setup` goes on from here", file=sys.stderr)
        sys.exit(130)
