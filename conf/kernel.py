"""The kernel jar's identity: a hash of everything it is made from, so that no launcher uses a stale one.

``kernel/build.py`` writes ``tree_hash()`` into the manifest as ``Matinee-Tree-SHA256``; ``jar()`` compares.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from conf.errors import ConfigError
from conf.settings import ROOT, Settings, load

ATTRIBUTE = "Matinee-Tree-SHA256"
_WAY_OUT = "run `make setup` (or `python -m kernel.build`)"


def ingredients(root: Path = ROOT) -> Iterator[Path]:
    """Every file the jar is made from: Java sources, the builder, the records and their ids, the error codes."""
    yield from sorted((root / "kernel" / "src").rglob("*.java"))
    yield root / "kernel" / "build.py"
    yield from sorted((root / "schemas" / "records").glob("*.avsc"))
    yield root / "schemas" / "ids.lock"
    yield root / "schemas" / "error_codes.csv"


def tree_hash(root: Path = ROOT) -> str:
    """Hex SHA-256 over the names and bytes of the ingredients that exist."""
    digest = hashlib.sha256()
    for path in ingredients(root):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def built_from(jar: Path) -> str | None:
    """The hash in a jar's manifest, or ``None`` if it carries none."""
    try:
        with zipfile.ZipFile(jar) as archive:
            manifest = archive.read("META-INF/MANIFEST.MF").decode()
    except (KeyError, zipfile.BadZipFile):
        return None
    # Manifest lines are at most 72 bytes; a longer one goes on after a line break and a space.
    for line in manifest.replace("\r\n", "\n").replace("\n ", "").splitlines():
        if line.startswith(f"{ATTRIBUTE}: "):
            return line.removeprefix(f"{ATTRIBUTE}: ").strip()
    return None


def jar_file(settings: Settings | None = None) -> Path:
    """Where the jar lies, built or not."""
    return (settings or load()).paths.build / "matinee-kernel.jar"


def jar(settings: Settings | None = None) -> Path:
    """The built jar; ``ConfigError`` if it is absent or was built from other sources or schemas than the tree's."""
    path = jar_file(settings)
    if not path.is_file():
        raise ConfigError(f"the kernel jar {path} is not built: {_WAY_OUT}")
    found = built_from(path)
    if found != tree_hash():
        raise ConfigError(
            f"the kernel jar {path} was built from other sources or schemas (its manifest says {found}): {_WAY_OUT}"
        )
    return path
