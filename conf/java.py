"""The JDK: found on PATH or by JAVA_HOME, and checked to be a JDK (with a compiler) of version 17 or newer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from conf.errors import ConfigError

OLDEST = 17
SPARK = "-XX:-DontCompileHugeMethods"
"""For every JVM of Spark: for a wide row it writes methods of more than 8,000 bytes, which Java would never compile."""
_WAY_OUT = f"install a JDK {OLDEST} or newer (Debian: openjdk-17-jdk-headless) and put it on PATH or in JAVA_HOME"


def tool(name: str) -> Path:
    """``java`` or ``javac``, as an absolute path; ``ConfigError`` says whether nothing or only a JRE was found."""
    home = os.environ.get("JAVA_HOME")
    if home:
        path = Path(home) / "bin" / name
        if path.is_file():
            return path
        raise ConfigError(f"JAVA_HOME is {home}, which has no bin/{name}: {_WAY_OUT}")
    found = shutil.which(name)
    if found is None:
        what = (
            "only a JRE is on PATH (java, but no javac)"
            if name == "javac" and shutil.which("java")
            else f"{name} is not on PATH"
        )
        raise ConfigError(f"{what}: {_WAY_OUT}")
    return Path(found)


def home() -> Path:
    """The JDK's folder, links resolved."""
    return tool("java").resolve().parent.parent


def version() -> int:
    """The feature version of ``java`` (17, 21, ...); ``ConfigError`` if it is too old or does not answer."""
    path = tool("java")
    answer = subprocess.run([str(path), "-version"], capture_output=True, text=True)
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if answer.returncode or found is None:
        raise ConfigError(f"{path} -version failed with exit code {answer.returncode}: {_WAY_OUT}")
    number = int(found[1])
    if number < OLDEST:
        raise ConfigError(f"{path} is version {number}: {_WAY_OUT}")
    return number
