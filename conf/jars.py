"""The JVM jars that no Python wheel brings: locked by SHA-256, fetched once, never resolved at run time.

``conf/jars.lock`` lists every jar of five groups: ``broker`` (Kafka itself), ``flink`` (connector, its missing codec,
Avro), ``spark`` (Iceberg, Kafka source, JDBC), ``kernel_build`` (what ``javac`` needs beside the engines' own jars) and
``bench`` (what only a yardstick needs). ``python -m conf.jars`` brings them to ``<paths.var>/jars``; the client is the
Ivy jar that PySpark ships, so nothing has to be installed and no registry's address stands in this repository.
``jars.source`` may name a local folder (flat, or in Maven's layout) or a mirror in Maven's layout. A jar whose hash
differs from the lock is refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from conf import java, kernel
from conf.errors import ConfigError, ServiceUnavailable
from conf.settings import FILES, Settings, load

LOCK = FILES / "jars.lock"
GROUPS = ("bench", "broker", "flink", "kernel_build", "spark")


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    groups: tuple[str, ...]
    organisation: str
    name: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        return f"{self.organisation}:{self.name}:{self.version}"

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.jar"

    @property
    def maven_path(self) -> str:
        return f"{self.organisation.replace('.', '/')}/{self.name}/{self.version}/{self.file}"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """The lock's jars in file order; ``ConfigError`` names a line that is not `groups coordinate sha256`."""
    jars = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        coordinate = words[1].split(":") if len(words) == 3 else []
        groups = tuple(words[0].split(","))
        if len(coordinate) != 3 or len(words[2]) != 64 or not set(groups) <= set(GROUPS):
            raise ConfigError(f"{path.name}:{number}: found {line!r}; a line is 'groups group:artifact:version sha256'")
        jars.append(Jar(groups, coordinate[0], coordinate[1], coordinate[2], words[2]))
    return jars


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in one-megabyte pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def jars_dir(settings: Settings | None = None) -> Path:
    return (settings or load()).jars.dir


def jar_paths(group: str, settings: Settings | None = None) -> list[Path]:
    """Paths of a group's jars in the lock's order; ``ConfigError`` if one is absent."""
    if group not in GROUPS:
        raise ConfigError(f"jar group {group!r} is not one of {', '.join(GROUPS)}")
    folder = jars_dir(settings)
    paths = [folder / jar.file for jar in read_lock() if group in jar.groups]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        raise ConfigError(
            f"{len(absent)} jars of group {group!r} are not in {folder} (first: {absent[0]}): run `make setup`"
        )
    return paths


def kernel_jar(settings: Settings | None = None) -> Path:
    """The built kernel, refused when stale (``conf.kernel.jar``)."""
    return kernel.jar(settings)


def wrong(jars: Iterable[Jar], folder: Path) -> Iterator[tuple[Jar, str]]:
    """The jars of ``folder`` that are absent or differ from the lock, each with a reason."""
    for jar in jars:
        path = folder / jar.file
        if not path.is_file():
            yield jar, "absent"
        elif (found := sha256(path)) != jar.sha256:
            yield jar, f"has SHA-256 {found}, the lock says {jar.sha256}"


def fetch(folder: Path, source: str | None = None, jars: list[Jar] | None = None) -> list[Jar]:
    """Bring every jar that is absent or damaged into ``folder``; returns those brought. Nothing unverified ends there.

    Raises ``ServiceUnavailable`` if the source does not answer, ``ConfigError`` on a hash that differs.
    """
    jars = read_lock() if jars is None else jars
    folder.mkdir(parents=True, exist_ok=True)
    needed = [jar for jar, _ in wrong(jars, folder)]
    if not needed:
        return []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as name:
        staged = Path(name)
        if source and "://" not in source:
            _copy_local(needed, Path(source).expanduser(), staged)
        else:
            _ivy(needed, source, staged)
        bad = [f"{jar.coordinate} {reason}" for jar, reason in wrong(needed, staged)]
        if bad:
            raise ConfigError(
                "refused, nothing was installed: "
                + "; ".join(bad)
                + f". Check the source ({source or 'default'}) or conf/jars.lock"
            )
        for jar in needed:
            (staged / jar.file).replace(folder / jar.file)
    return needed


def _copy_local(jars: list[Jar], source: Path, staged: Path) -> None:
    if not source.is_dir():
        raise ConfigError(f"jars.source is {source}, which is neither a folder nor an address with '://'")
    for jar in jars:
        found = next((p for p in (source / jar.file, source / jar.maven_path) if p.is_file()), None)
        if found is None:
            raise ConfigError(f"jars.source {source} holds neither {jar.file} nor {jar.maven_path}")
        shutil.copyfile(found, staged / jar.file)


def _ivy_file(jars: list[Jar]) -> str:
    rows = "".join(
        f"    <dependency org={quoteattr(j.organisation)} name={quoteattr(j.name)} rev={quoteattr(j.version)}"
        ' transitive="false" conf="default->master"/>\n'
        for j in jars
    )
    return (
        '<ivy-module version="2.0">\n  <info organisation="io.matinee" module="jars"/>\n'
        '  <configurations><conf name="default"/></configurations>\n'
        f'  <dependencies>\n{rows}    <conflict manager="all"/>\n  </dependencies>\n</ivy-module>\n'
    )


def _ivy(jars: list[Jar], mirror: str | None, staged: Path) -> None:
    """Retrieve by the command-line client inside PySpark's Ivy jar; nothing transitive, every version kept."""
    command = [str(java.tool("java")), "-jar", str(_ivy_jar()), "-confs", "default", "-cache", str(staged / "cache")]
    (staged / "ivy.xml").write_text(_ivy_file(jars))
    command += ["-ivy", str(staged / "ivy.xml"), "-retrieve", str(staged / "[artifact]-[revision].[ext]")]
    if mirror:
        (staged / "ivysettings.xml").write_text(
            '<ivysettings><settings defaultResolver="mirror"/><resolvers>'
            f'<ibiblio name="mirror" m2compatible="true" root={quoteattr(mirror)}/></resolvers></ivysettings>\n'
        )
        command += ["-settings", str(staged / "ivysettings.xml")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise ServiceUnavailable(
            f"the jars could not be fetched from {mirror or 'the default source'} (exit {done.returncode}); "
            f"set MATINEE__JARS__SOURCE to a mirror or a folder.\n{tail}"
        )


def _ivy_jar() -> Path:
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{sys.executable} has no PySpark, whose Ivy jar fetches the others: run `make setup`")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("jars/ivy-*.jar"))
    if not found:
        raise ConfigError("this PySpark ships no Ivy jar; requirements/main.txt pins one that does: run `make setup`")
    return found[0]


def main() -> int:
    """``python -m conf.jars``: fetch what is missing, say what was done."""
    settings = load()
    brought = fetch(settings.jars.dir, settings.jars.source)
    print(f"jars: {len(read_lock())} in {settings.jars.dir}, {len(brought)} fetched")
    return 0


if __name__ == "__main__":
    from conf.errors import MatineeError

    try:
        sys.exit(main())
    except MatineeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
