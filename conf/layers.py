"""How settings are laid over each other: plain nested mappings in, one tree and the source of each value out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from conf.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[a-z_0-9]+)?)\}")
_DEPTH = 5

Shape = Mapping[str, "Shape | None"]
"""The tree of known keys: a mapping for a section, ``None`` for a value (also for a free-form mapping)."""


@dataclass
class Tree:
    """Values by dotted key with, for each, the source that set it last."""

    shape: Shape
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def lay(self, layer: Mapping[str, Any], source: str) -> None:
        """Put a nested mapping over what is there; ``ConfigError`` on a key that the shape does not know."""
        for key, value in _leaves(layer, self.shape, source):
            before = self.values.get(key)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                value = {**before, **value}
            self.values[key] = value
            self.sources[key] = source

    def filled(self, fixed: Mapping[str, str], verbatim: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Dotted values with every ``{placeholder}`` replaced by the setting or ``fixed`` word it names."""
        return {key: self.values[key] if key in verbatim else self.value(key, fixed) for key in self.values}

    def value(self, key: str, fixed: Mapping[str, str]) -> Any:
        """One value with its placeholders replaced; ``ConfigError`` if one names nothing or itself."""
        return self._fill(key, self.values[key], fixed, 0)

    def _fill(self, key: str, value: Any, fixed: Mapping[str, str], depth: int) -> Any:
        if not isinstance(value, str):
            return value

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name in fixed:
                return fixed[name]
            if name not in self.values or depth == _DEPTH:
                why = (
                    "is defined in a circle"
                    if name in self.values
                    else "names no setting" + _nearest(name, self.values)
                )
                raise ConfigError(f"{key} = {value!r} ({self.sources[key]}): {{{name}}} {why}")
            return str(self._fill(name, self.values[name], fixed, depth + 1))

        return _PLACEHOLDER.sub(replace, value)


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = value
    return tree


class _Strict(yaml.SafeLoader):
    """YAML forbids a key twice in one mapping; PyYAML takes the last one without a word. And a value that looks like a
    time or number and is none, as 2026-02-30, is an error of the file, at its place."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(None, None, f"{node.value}: {error}", node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key_node.tag != "tag:yaml.org,2002:merge" and isinstance(key, str):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} stands twice in one mapping", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """The document as plain values; ``yaml.YAMLError`` also where a key stands twice."""
    return yaml.load(text, Loader=_Strict)


def read_yaml(path: Path) -> dict[str, Any]:
    """A settings file as a nested mapping; ``ConfigError`` if it is absent, unreadable or not a mapping."""
    try:
        loaded = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"settings file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"settings file {path} cannot be read: {error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"settings file {path} holds a {type(loaded).__name__}; it must be a mapping of sections")
    return loaded


def from_environment(
    environ: Mapping[str, str], prefix: str, shape: Shape, structured: frozenset[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each ``PREFIX__SECTION__KEY=value`` as (variable, nested mapping); YAML is read for `structured` keys, mappings
    and lists, alone.

    ``ConfigError`` on a variable that would be one if it had both underscores: it would have no effect.
    """
    single = prefix.removesuffix("_")
    meant = {f"{single}{key.replace('.', '_')}".upper(): key for key in _keys(shape)}
    for name in sorted(environ):
        key = meant.get(name.upper().replace("__", "_"))
        if key and not name.startswith(prefix):
            right = f"{prefix}{key.upper().replace('.', '__')}"
            raise ConfigError(f"{name}={environ[name]!r} sets nothing; write {right}, with two underscores")
        if name.startswith(prefix):
            words = name.removeprefix(prefix).lower().split("__")
            raw: Any = environ[name]
            if ".".join(words) in structured and raw:
                try:
                    raw = load_yaml(raw)
                except (yaml.YAMLError, RecursionError) as error:
                    raise ConfigError(f"{name}={raw!r} is neither JSON nor YAML: {error}") from None
            layer: Any = raw
            for word in reversed(words):
                layer = {word: layer}
            yield name, layer


def _leaves(layer: Mapping[str, Any], shape: Shape, source: str, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in layer.items():
        key = f"{path}{name}"
        if name not in shape:
            raise ConfigError(f"unknown setting {key!r} ({source})" + _nearest(key, _keys(shape, path)))
        below = shape[name]
        if below is None:
            yield key, value
        elif isinstance(value, Mapping):
            yield from _leaves(value, below, source, f"{key}.")
        elif value is not None:
            raise ConfigError(
                f"{key} = {value!r} ({source}) is a section; its keys are {', '.join(below) or 'none yet'}"
            )


def _keys(shape: Shape, path: str = "") -> Iterator[str]:
    for name, below in shape.items():
        yield f"{path}{name}"
        if below is not None:
            yield from _keys(below, f"{path}{name}.")


def _nearest(key: str, known: Iterator[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else "; `matinee config` lists them all"
