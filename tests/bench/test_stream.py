"""The measurement of the stream: its arithmetic, and that its Java compiles against the kernel as it is."""

from __future__ import annotations

import zipfile

import pytest

from bench import java
from bench.stream import Run, middle, slope


def test_one_slow_turn_does_not_count() -> None:
    quick, usual, slow = Run(10, 20.0, 9.0), Run(10, 21.0, 5.0), Run(10, 60.0, 30.0)
    assert middle([slow, quick, usual]) == usual and middle([slow, quick]) == quick


def test_the_slope_leaves_out_what_both_sizes_pay() -> None:
    assert slope(Run(1_000, 30.5, 9.0), Run(5_000, 32.5, 9.0)) == 2_000


@pytest.mark.jvm
def test_its_java_compiles() -> None:
    with zipfile.ZipFile(java.jar()) as jar:
        assert {"bench/BareFold.class", "bench/Flood.class"} <= set(jar.namelist())
