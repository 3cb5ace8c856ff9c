"""Real network traces: JSON lists of steps with `duration_ms`, `bandwidth_kbps`, `latency_ms`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from models.world.errors import WorldError
from models.world.network import Traces, pack

_FIELDS = ("duration_ms", "bandwidth_kbps", "latency_ms")


def parse(files: Mapping[str, bytes | IO[bytes]], longest_ms: int = 3_600_000) -> Traces:
    """All traces, sorted by mean speed; steps after `longest_ms` are cut off. Files of another JSON shape (video
    descriptions lie beside traces in some collections) are an error too: give only traces.

    Raises:
        WorldError: no file, no JSON, a step without a field, or a value out of range; names file and step.
    """
    if not files:
        raise WorldError(
            "traces: no files given; a trace is a JSON list of steps with duration_ms, bandwidth_kbps, latency_ms"
        )
    packed = []
    for name in sorted(files):
        steps = _steps(name, files[name])
        table = np.array([[_value(name, i, step, field) for field in _FIELDS] for i, step in enumerate(steps)])
        keep = np.concatenate([[True], np.cumsum(table[:, 0])[:-1] < longest_ms])
        table = table[keep & (table[:, 0] >= 1.0)]
        if not len(table) or not table[:, 1].any():
            raise WorldError(f"trace {name}: no step has time and bandwidth; remove the file")
        packed.append(
            (np.maximum(np.round(table[:, 0]), 1).astype(np.int64), table[:, 1], np.round(table[:, 2]).astype(np.int64))
        )
    order = np.argsort(pack(packed, real=True).mean_kbps, kind="stable")
    return pack([packed[i] for i in order], real=True)


def _steps(name: str, source: bytes | IO[bytes]) -> list[Any]:
    raw = source if isinstance(source, bytes) else source.read()
    try:
        steps = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise WorldError(f"trace {name} is no JSON: {error}; give JSON lists of steps or remove the file") from error
    if not isinstance(steps, list) or not steps:
        raise WorldError(
            f"trace {name} is a JSON {type(steps).__name__} of {len(steps) if hasattr(steps, '__len__') else 1} "
            "entries; must be a list of steps"
        )
    return steps


def _value(name: str, i: int, step: Any, field: str) -> float:
    """One number of one step."""
    value = step.get(field) if isinstance(step, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise WorldError(f"trace {name} step {i}: {field} is {value!r}, must be a number from 0 to 1e9")
    return float(value)
