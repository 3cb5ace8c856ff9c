"""What the pages promise exists: links, commands with their options, make targets, settings, Python that runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import matinee
from conf.settings import explain

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON_NAMES = {"airflow.sdk"}
"""Dotted words of the pages that begin like a setting and are none."""
WRITTEN = [page for page in PAGES if "generated" not in page.parts]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every `matinee ...` in code of a page, up to a pipe, comment or placeholder."""
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    for line in "\n".join(code).splitlines():
        found = re.match(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?matinee (.+)", line.strip())
        if found:
            yield [word for word in shlex.split(found[1], comments=True) if word not in ("...", "[ID]")]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        rest = [word for word in words if not re.fullmatch(r"--(demo|debug)(=.*)?", word)]
        command: click.Command = matinee.cli
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found is not None, f"{page.name}: matinee {' '.join(words)}: no command {name}"
            command = found
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for option in (word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)):
            assert option in known | {"-h", "--help"}, f"{page.name}: matinee {' '.join(words)}: no option {option}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\s)make ([a-z-]+)(?=[`\s]|$)", code_of(page)))
    assert named <= targets


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_exist(page: Path) -> None:
    known = {key for key, _, _ in explain()}
    sections = {key.partition(".")[0] for key in known}
    for name in re.findall(r"`([a-z_]+\.[a-z_]+)(?::[^`]*)?`", page.read_text(encoding="utf-8")):
        if name.partition(".")[0] in sections and not (ROOT / name).exists() and not name.endswith((".conf", ".yaml")):
            assert name in known or name in PYTHON_NAMES, f"{page.name}: no setting {name}"
    for name in re.findall(r"MATINEE__([A-Z_]+)=", page.read_text(encoding="utf-8")):
        assert name.lower().replace("__", ".") in known | {"section.key"}


def code_of(page: Path) -> str:
    """The code blocks and code words of a page."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) + re.findall(r"`[^`\n]+`", text))
