"""Jars: nothing enters the folder unverified, and a source of one's own is honoured."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from conf import jars
from conf.errors import ConfigError
from conf.jars import Jar
from conf.settings import load

CONTENT = b"not really a jar, but its bytes are what counts"


def _jar(content: bytes = CONTENT, name: str = "thing") -> Jar:
    return Jar(("broker",), "org.example.deep", name, "1.2", hashlib.sha256(content).hexdigest())


def test_the_lock_has_every_group_and_no_address() -> None:
    locked = jars.read_lock()
    assert {group for jar in locked for group in jar.groups} == set(jars.GROUPS)
    assert len({jar.file for jar in locked}) == len(locked)
    assert sum("broker" in jar.groups for jar in locked) == 46
    assert sum("spark" in jar.groups for jar in locked) == 7
    assert "://" not in jars.LOCK.read_text()


@pytest.mark.parametrize(
    "line", ["broker a:b:1", "broker a:b " + "0" * 64, "nobody a:b:1 " + "0" * 64, "broker a:b:1 0"]
)
def test_a_broken_line_of_the_lock_is_named(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text(f"# comment\n{line}\n")
    with pytest.raises(ConfigError, match=r"jars\.lock:2"):
        jars.read_lock(lock)


@pytest.mark.parametrize("layout", ["flat", "maven"])
def test_a_local_source_is_honoured(tmp_path: Path, layout: str) -> None:
    jar = _jar()
    origin = tmp_path / "source" / (jar.file if layout == "flat" else jar.maven_path)
    origin.parent.mkdir(parents=True)
    origin.write_bytes(CONTENT)
    folder = tmp_path / "jars"
    assert jars.fetch(folder, str(tmp_path / "source"), [jar]) == [jar]
    assert (folder / jar.file).read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == [jar.file]
    assert jars.fetch(folder, str(tmp_path / "nowhere"), [jar]) == [], "what is there and right is not fetched again"


def test_a_mismatch_is_refused_and_nothing_is_installed(tmp_path: Path) -> None:
    good, bad = _jar(name="good"), _jar(b"expected", name="bad")
    source = tmp_path / "source"
    source.mkdir()
    for jar in (good, bad):
        (source / jar.file).write_bytes(CONTENT)
    with pytest.raises(ConfigError, match=r"refused.*org\.example\.deep:bad:1\.2") as error:
        jars.fetch(tmp_path / "jars", str(source), [good, bad])
    assert hashlib.sha256(CONTENT).hexdigest() in str(error.value)
    assert list((tmp_path / "jars").iterdir()) == []


def test_a_damaged_jar_is_replaced(tmp_path: Path) -> None:
    jar = _jar()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / jar.file).write_bytes(CONTENT)
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / jar.file).write_bytes(b"damaged")
    assert jars.fetch(folder, str(tmp_path / "source"), [jar]) == [jar]
    assert (folder / jar.file).read_bytes() == CONTENT


def test_a_source_without_the_jar_and_a_source_that_is_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither thing-1\.2\.jar nor org/example/deep/thing/1\.2/thing-1\.2\.jar"):
        jars.fetch(tmp_path / "jars", str(tmp_path), [_jar()])
    with pytest.raises(ConfigError, match="neither a folder nor an address"):
        jars.fetch(tmp_path / "jars", str(tmp_path / "absent"), [_jar()])


def test_absent_jars_of_a_group_and_an_unknown_group_are_named(tmp_path: Path) -> None:
    settings = load(environ={"MATINEE__JARS__DIR": str(tmp_path)})
    with pytest.raises(ConfigError, match="7 jars of group 'spark' are not in .*make setup"):
        jars.jar_paths("spark", settings)
    with pytest.raises(ConfigError, match="'sparkle' is not one of"):
        jars.jar_paths("sparkle", settings)


def test_the_ivy_file_asks_for_each_jar_alone() -> None:
    text = jars._ivy_file([_jar(), _jar(name="other")])
    assert text.count('transitive="false"') == 2
    assert 'org="org.example.deep" name="other" rev="1.2"' in text
