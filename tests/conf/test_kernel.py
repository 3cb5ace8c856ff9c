"""The kernel jar: a stale one is refused, whichever ingredient changed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from conf import kernel
from conf.errors import ConfigError
from conf.settings import load


def _tree(root: Path) -> Path:
    for name in ("kernel/src/a/B.java", "kernel/build.py", "schemas/records/x.v1.avsc", "schemas/ids.lock"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def _jar(path: Path, manifest: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", manifest)
    return path


@pytest.mark.parametrize(
    "changed", ["kernel/src/a/B.java", "kernel/build.py", "schemas/records/x.v1.avsc", "schemas/ids.lock"]
)
def test_the_hash_sees_every_ingredient(tmp_path: Path, changed: str) -> None:
    root = _tree(tmp_path)
    before = kernel.tree_hash(root)
    assert before == kernel.tree_hash(root)
    (root / changed).write_text("other")
    assert kernel.tree_hash(root) != before


def test_a_new_and_a_renamed_file_change_the_hash(tmp_path: Path) -> None:
    root = _tree(tmp_path)
    before = kernel.tree_hash(root)
    (root / "kernel/src/a/B.java").rename(root / "kernel/src/a/C.java")
    after = kernel.tree_hash(root)
    (root / "schemas/records/y.v1.avsc").write_text("")
    assert len({before, after, kernel.tree_hash(root)}) == 3


def test_the_manifest_is_read_over_folded_lines(tmp_path: Path) -> None:
    line = f"{kernel.ATTRIBUTE}: {'ab' * 32}"
    folded = f"Manifest-Version: 1.0\r\n{line[:70]}\r\n {line[70:]}\r\n\r\n"
    assert kernel.built_from(_jar(tmp_path / "k.jar", folded)) == "ab" * 32
    assert kernel.built_from(_jar(tmp_path / "l.jar", "Manifest-Version: 1.0\r\n")) is None


def test_an_absent_and_a_stale_jar_are_refused(tmp_path: Path) -> None:
    settings = load(environ={"MATINEE__PATHS__BUILD": str(tmp_path)})
    with pytest.raises(ConfigError, match="not built.*make setup"):
        kernel.jar(settings)
    path = _jar(tmp_path / "matinee-kernel.jar", f"{kernel.ATTRIBUTE}: {'0' * 64}\r\n")
    with pytest.raises(ConfigError, match="other sources or schemas.*make setup"):
        kernel.jar(settings)
    _jar(path, f"{kernel.ATTRIBUTE}: {kernel.tree_hash()}\r\n")
    assert kernel.jar(settings) == path
