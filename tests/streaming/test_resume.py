"""What a submission goes on from; no broker and no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conf import flink
from conf.errors import ServiceUnavailable
from conf.settings import Settings, load
from schemas.topics import Topic
from streaming import launch, rest, topics
from streaming.jobs import plan


class Planned:
    """A client that has planned the job; keeps what it was sent with."""

    def __init__(self) -> None:
        self.origins: list[str | None] = []

    def submit(self, origin: str | None) -> str:
        self.origins.append(origin)
        return str(len(self.origins)) * 32


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    def get(_: Settings, path: str) -> Any:
        if path != "/overview":
            raise ServiceUnavailable("a JobManager that came back knows no job")

    monkeypatch.setattr(flink, "get", get)
    monkeypatch.setattr(topics, "create", lambda _: None)
    monkeypatch.setattr(topics, "identity", lambda topic, _: f"id of {topic.name}")
    monkeypatch.setattr(rest, "find", lambda *_: None)
    made = load()
    paths = made.paths.model_copy(update={"var": tmp_path})
    return made.model_copy(update={"paths": paths, "stack": made.stack.model_copy(update={"dir": tmp_path / "stack"})})


def _state(settings: Settings, name: str) -> Path:
    state = settings.paths.var / name
    state.mkdir()
    (state / "_metadata").touch()
    return state


@pytest.mark.parametrize("name", ["savepoint-1", "chk-7"])
def test_a_run_that_ended_before_its_first_checkpoint_leaves_its_origin(settings: Settings, name: str) -> None:
    state = _state(settings, name)
    ids = launch._topic_ids(settings)
    launch._remember(settings, {"job_id": "0" * 32, "topic_ids": ids, "savepoint": state.as_uri()})
    client: Any = Planned()
    for _ in range(3):
        launch.start(settings, client=client)
    assert client.origins == [state.as_uri()] * 3
    launch.start(settings, fresh=True, client=client)
    assert client.origins[-1] is None and launch.resumable(settings) is None


@pytest.mark.parametrize("anew", plan.SOURCES, ids=lambda topic: topic.name)
def test_a_source_made_anew_is_read_from_its_start(
    anew: Topic, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = _state(settings, "savepoint-1")
    ids = launch._topic_ids(settings)
    launch._remember(settings, {"job_id": "0" * 32, "topic_ids": ids, "savepoint": state.as_uri()})
    assert launch.resumable(settings) == state.as_uri()
    monkeypatch.setattr(topics, "identity", lambda topic, _: "another" if topic == anew else f"id of {topic.name}")
    assert launch.resumable(settings) is None
    client: Any = Planned()
    launch.start(settings, client=client)
    assert client.origins == [None]


@pytest.mark.parametrize(("topic_id", "goes_on"), [("id of playback_event", True), ("another", False)])
def test_a_record_without_the_id_of_cmcd_is_gone_on_from_once(
    topic_id: str, goes_on: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = _state(settings, "savepoint-1")
    launch._remember(settings, {"job_id": "0" * 32, "topic_id": topic_id, "savepoint": state.as_uri()})
    client: Any = Planned()
    launch.start(settings, client=client)
    assert client.origins == [state.as_uri() if goes_on else None]
    monkeypatch.setattr(topics, "identity", lambda topic, _: f"{topic.name} made anew")
    assert launch.resumable(settings) is None


@pytest.mark.parametrize(("checkpoint", "savepoint", "newest"), [
    ((7, False), (8, True), "savepoint-1"),
    ((9, True), (8, True), "chk-9"),
    ((9, True), None, "chk-9"),
    (None, (8, True), "savepoint-1"),
    ((7, False), None, None),
])  # fmt: skip
def test_a_savepoint_that_nobody_waited_for_is_gone_on_from(
    checkpoint: tuple[int, bool] | None, savepoint: tuple[int, bool] | None, newest: str | None,
    settings: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`matinee stream savepoint` was interrupted after Flink had taken the request: the job ended with it, and with the
    job its checkpoints."""
    latest: dict[str, Any] = {"failed": None, "restored": None}
    for kind, name, told in (("completed", "chk-9", checkpoint), ("savepoint", "savepoint-1", savepoint)):
        path = settings.paths.var / name
        latest[kind] = None if told is None else {"id": told[0], "external_path": path.as_uri()}
        if told is not None and told[1]:
            _state(settings, name)
    monkeypatch.setattr(flink, "get", lambda _, path: {"latest": latest} if path.endswith("/checkpoints") else {})
    ids = launch._topic_ids(settings)
    launch._remember(settings, {"job_id": "0" * 32, "topic_ids": ids, "state_backend": settings.flink.state_backend})
    found = launch.resumable(settings)
    assert (found and found.rpartition("/")[2]) == newest
