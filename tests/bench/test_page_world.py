"""The yardstick of pages on the world: once through on a small one."""

from __future__ import annotations

import re

import pytest

from bench import page_world


def test_once_through(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(page_world, "HISTORY", 4)
    page_world.take(seeds=1, profiles=150, shows_=60, first_seed=3)
    line = next(line for line in capsys.readouterr().out.splitlines() if re.match(r"3\s", line))
    template, own, ours, truth, oracle = map(float, line.split()[1:6])
    assert max(own, ours) < truth <= oracle, "who knows the truth makes the better page, within rows not the best"
    assert template < ours
