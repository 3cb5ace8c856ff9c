"""The Java that only measurements need (bench/java), compiled when it is asked for."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

from conf import jars, kernel
from conf.errors import ConfigError
from conf.java import tool
from conf.settings import ROOT, load
from kernel import build

SOURCES = ROOT / "bench" / "java"


def class_path() -> list[Path]:
    """The kernel, the engines and Kafka's client."""
    return [kernel.jar(), *build.class_path(), *jars.jar_paths("broker")]


def jar() -> Path:
    """Compile; the jar's path.

    Raises:
        ConfigError: it does not compile.
    """
    found = load().paths.build / "bench.jar"
    classes = found.with_suffix("")
    classes.mkdir(parents=True, exist_ok=True)
    sources = [str(path) for path in sorted(SOURCES.rglob("*.java"))]
    command = [str(tool("javac")), "-parameters", "--release", str(build.JAVA), "-proc:none", "-nowarn", "-d"]
    command += [str(classes), "-cp", os.pathsep.join(map(str, class_path())), *sources]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"bench/java does not compile:\n{(done.stdout + done.stderr).strip()}")
    with zipfile.ZipFile(found, "w") as archive:
        for path in sorted(classes.rglob("*.class")):
            archive.write(path, path.relative_to(classes).as_posix())
    return found


def command(name: str, *arguments: object) -> list[str]:
    """The command line of a class with a main method."""
    path = [jar(), kernel.jar(), *jars.jar_paths("broker")]
    joined = os.pathsep.join(map(str, path))
    return [str(tool("java")), "-Xmx1g", "-cp", joined, f"bench.{name}", *map(str, arguments)]
