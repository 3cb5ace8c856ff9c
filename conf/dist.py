"""``make dist``: what ``spark-submit`` needs on a cluster, in one folder that can be copied.

    spark-submit --properties-file dist/spark.conf --py-files dist/app.zip dist/main.py job NAME --date D

``app.zip`` holds the packages, ``main.py`` the front door, ``jars/`` Spark's locked jars and the kernel, ``spark.conf``
their paths (absolute, for the place the folder will lie at), the interpreter and the deploy mode: client, so that the
driver alone touches the catalog and executors only files (decision 18).
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from conf import jars, java
from conf.errors import UsageError
from conf.settings import FILES, ROOT, Settings, load

PACKAGES = ("conf", "jobs", "lake", "models", "schemas")
_LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}

MAIN = '''"""The driver's entry: unpacks app.zip, so that data files are files, and runs one matinee command."""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.setdefault("MATINEE_HOME", {home!r})
os.environ.setdefault("MATINEE__PROFILE", "cluster")
os.environ.setdefault("MATINEE_DIST", str(HERE))

with tempfile.TemporaryDirectory(prefix="matinee-") as folder:
    with zipfile.ZipFile(HERE / "app.zip") as archive:
        archive.extractall(folder)
    sys.path.insert(0, folder)
    from matinee import main

    code = main()
sys.exit(code)
'''


def write(settings: Settings, folder: Path | None = None, place: Path | None = None, python: str = "python3") -> str:
    """Write the folder (default ``dist/``) for use at ``place`` (default: there); returns the line to submit."""
    folder = (folder or ROOT / "dist").resolve()
    place = place or folder
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "spark.conf").is_file() or not (folder / "app.zip").is_file():
            raise UsageError(f"{folder} holds other things than an earlier `make dist`: name an empty or a new folder")
        shutil.rmtree(folder)
    (folder / "jars").mkdir(parents=True, exist_ok=True)
    used = [*jars.jar_paths("spark", settings), jars.kernel_jar(settings)]
    for jar in used:
        shutil.copyfile(jar, folder / "jars" / jar.name)
    with zipfile.ZipFile(folder / "app.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in contents():
            # A fixed time: the same tree gives the same bytes.
            entry = zipfile.ZipInfo(path.relative_to(FILES.parent).as_posix(), (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    shutil.copyfile(FILES.parent / "jobs" / "log4j2.properties", folder / "log4j2.properties")
    (folder / "main.py").write_text(MAIN.format(home=str(ROOT)))
    (folder / "spark.conf").write_text(properties(place, [jar.name for jar in used], python))
    submit = f"--properties-file {place}/spark.conf --py-files {place}/app.zip {place}/main.py"
    return f"wrote {folder}\nspark-submit {submit} job NAME --date YYYY-MM-DD"


def contents() -> Iterator[Path]:
    """Every file of the packages a job needs, and the front door."""
    root = FILES.parent
    yield root / "matinee.py"
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and not _LEFT_OUT & set(path.parts) and path.suffix != ".pyc":
                yield path


def properties(place: Path, jar_names: list[str], python: str) -> str:
    """``spark.conf``: a flag of spark-submit, such as ``--master``, wins over its lines."""
    settings = load(profile="cluster")
    options = f"-Dlog4j2.configurationFile=file:{place}/log4j2.properties -Duser.timezone=UTC {java.SPARK}"
    lines = {
        "spark.master": settings.spark.master,
        "spark.submit.deployMode": "client",
        "spark.jars": ",".join(f"{place}/jars/{name}" for name in jar_names),
        "spark.pyspark.python": python,
        "spark.pyspark.driver.python": python,
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.extraJavaOptions": options,
        "spark.executor.extraJavaOptions": f"-Duser.timezone=UTC {java.SPARK}",
    }
    if settings.spark.one_host:
        # Without these the driver listens on every address of the machine.
        lines |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
        }
    lines |= settings.spark.extra
    return "".join(f"{key} {value}\n" for key, value in lines.items())
