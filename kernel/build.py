"""Build the kernel: javac, then one jar whose bytes depend on sources and schemas only.

    python -m kernel.build            # var/build/matinee-kernel.jar
    python -m kernel.build --check    # exit 2 if the jar is absent or stale

The jar carries `schemas.tsv`, made here from `schemas/records` and `schemas/ids.lock`, and in its manifest the hash of
everything it was made from, which every launcher compares with the tree (`conf.kernel.jar`).
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from conf import jars, kernel
from conf.environments import flink_home, spark_home
from conf.errors import ConfigError, MatineeError
from conf.java import tool
from conf.settings import ROOT
from schemas import error_codes, ids, records
from schemas.records import Array, Field, Nested, Record, Scalar

SOURCES = ROOT / "kernel" / "src"
JAVA = 17
TABLE = "io/matinee/kernel/schemas.tsv"
CODES = "io/matinee/kernel/error_codes.tsv"


def schema_table() -> str:
    """Every version of every flat record as tab-separated lines: R name version id, then an F line for each field.

    Records with an array of records are left out: nothing in the kernel reads them.
    """
    lines = []
    for record in records.every():
        if not any(isinstance(f.type, Array) and isinstance(f.type.items, Nested) for f in record.fields):
            lines.append(f"R\t{record.name}\t{record.version}\t{ids.schema_id(record.name, record.version)}")
            lines += [_field_line(record, field) for field in record.fields]
    return "\n".join(lines) + "\n"


def _field_line(record: Record, field: Field) -> str:
    scalar = field.type.items if isinstance(field.type, Array) else field.type
    assert isinstance(scalar, Scalar)
    real = scalar is Scalar.DOUBLE
    bounds = [
        "" if bound is None else str(float(bound) if real else int(bound)) for bound in (field.minimum, field.maximum)
    ]
    default = "" if field.default is None else str(field.default)
    words = [
        field.name,
        scalar.name,
        _bit(isinstance(field.type, Array)),
        _bit(field.nullable),
        *bounds,
        ",".join(field.values),
        _bit(field.has_default),
        default,
        _bit(field.pii != "none"),
    ]
    if any("\t" in word or "\n" in word for word in words):
        raise ConfigError(
            f"{record.label}.{field.name}: a tab or line break in an attribute; the kernel's table has none"
        )
    return "\t".join(["F", *words])


def _bit(flag: bool) -> str:
    return "1" if flag else "0"


def sources() -> list[Path]:
    """The Java files, sorted."""
    return sorted(SOURCES.rglob("*.java"))


def fingerprint() -> str:
    """Hash of everything the jar is made from; stands in its manifest."""
    return kernel.tree_hash()


def is_fresh(path: Path) -> bool:
    """Whether the jar at `path` was built from the tree as it is now."""
    return path.is_file() and kernel.built_from(path) == fingerprint()


def class_path() -> list[Path]:
    """The engines' own jars out of their wheels, Spark from this environment, Flink from the streaming one; and those
    of `jars.lock` that the kernel is compiled against."""
    engines = sorted((spark_home() / "jars").glob("*.jar")) + sorted((flink_home() / "lib").glob("flink-*.jar"))
    return engines + jars.jar_paths("kernel_build")


def _entries(classes: Path) -> Iterator[tuple[str, bytes]]:
    line = f"{kernel.ATTRIBUTE}: {fingerprint()}"
    wrapped = "\r\n ".join([line[:70], *(line[i : i + 69] for i in range(70, len(line), 69))])
    yield (
        "META-INF/MANIFEST.MF",
        f"Manifest-Version: 1.0\r\nMain-Class: io.matinee.kernel.Main\r\n{wrapped}\r\n\r\n".encode(),
    )
    for path in sorted(classes.rglob("*.class")):
        yield path.relative_to(classes).as_posix(), path.read_bytes()
    yield TABLE, schema_table().encode()
    yield CODES, "".join(f"{code}\t{kind}\n" for code, kind in error_codes.table().items()).encode()


def build(jar: Path) -> None:
    """Compile and write `jar`, in one move; the same tree and compiler give the same bytes.

    Raises:
        ConfigError: no JDK, an engine's environment is missing, or the sources do not compile.
    """
    with tempfile.TemporaryDirectory() as name:
        classes = Path(name)
        command = [
            str(tool("javac")),
            "-parameters",
            "--release",
            str(JAVA),
            "-encoding",
            "UTF-8",
            "-proc:none",
            "-nowarn",
            "-d",
            name,
            "-cp",
            os.pathsep.join(map(str, class_path())),
            *map(str, sources()),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"the kernel does not compile:\n{(done.stdout + done.stderr).strip()}")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in _entries(classes):
                archive.writestr(zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    jar.parent.mkdir(parents=True, exist_ok=True)
    staged = jar.with_name(f".{jar.name}.{os.getpid()}")
    staged.write_bytes(buffer.getvalue())
    staged.replace(jar)


def main(arguments: list[str]) -> int:
    """Build if stale; with ``--check`` only say so."""
    jar = kernel.jar_file()
    fresh = is_fresh(jar)
    if "--check" in arguments and not fresh:
        raise ConfigError(f"{jar} is {'stale' if jar.is_file() else 'absent'}: run `python -m kernel.build`")
    if not fresh:
        build(jar)
    print(f"kernel: {jar} {'is fresh' if fresh else 'built'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MatineeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
