"""Universes of their own on the shared stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conf.settings import Settings
from streaming import launch, topics


@pytest.fixture(scope="module")
def universe(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Settings]]:
    """Makes settings with a topic prefix and a folder of their own; their jobs and topics are gone afterwards."""
    made: list[Settings] = []

    def make(name: str) -> Settings:
        folder: Path = tmp_path_factory.mktemp(name)
        kafka = stack.kafka.model_copy(update={"topic_prefix": f"{name}."})
        settings = stack.model_copy(update={"kafka": kafka, "paths": stack.paths.model_copy(update={"var": folder})})
        made.append(settings)
        return settings

    yield make
    for settings in made:
        launch.cancel(settings)
        topics.delete(settings)
