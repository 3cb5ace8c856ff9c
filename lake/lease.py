"""One writer per table: a lease from branch to publish, with a fencing token that is checked at publish.

A killed scheduler task leaves its driver alive, and the retry is a second writer. The lease keeps honest writers apart;
the token stops one that lost its lease without noticing. On one machine the lease is a file lock (the kernel frees it
when the process dies), on PostgreSQL an advisory lock (the server frees it when the connection dies).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from conf.errors import ConfigError, ServiceUnavailable
from conf.settings import Settings

WAIT_S = 900.0
POLL_S = 0.1


class Lease(Protocol):
    """A held lease; `token` grows with every holder of the same name."""

    token: int

    def check(self) -> None:
        """Raise ServiceUnavailable if another writer has taken over."""

    def release(self) -> None:
        """Give the lease back."""


def acquire(
    settings: Settings, name: str, holder: str, wait_s: float = WAIT_S, waiting: Callable[[str], None] | None = None
) -> Lease:
    """Take the lease called `name`, waiting at most `wait_s`; `waiting` is told once who holds it.

    Raises:
        ServiceUnavailable: it was not free in time; the message names the holder.
    """
    uri = settings.lake.catalog_uri
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).parent / "leases"
        attempt: Callable[[], Lease | str] = lambda: FileLease.attempt(folder / f"{name}.lock", holder)  # noqa: E731
    elif uri.startswith("postgresql"):
        attempt = lambda: DatabaseLease.attempt(uri, settings.lake.namespace_prefix + name, holder)  # noqa: E731
    else:
        raise ConfigError(
            f"lake.catalog_uri starts with {uri.partition(':')[0]!r}; it must be sqlite:/// or postgresql+psycopg2://"
        )
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        found = attempt()
        if not isinstance(found, str):
            return found
        if time.monotonic() >= deadline:
            raise ServiceUnavailable(
                f"the write lease of {name} is held by {found} and was not free within {wait_s:.0f} s; "
                "wait for that run or end it, then try again"
            )
        if waiting and not told:
            waiting(found)
            told = True
        time.sleep(POLL_S)


@contextmanager
def exclusive(settings: Settings, name: str) -> Iterator[Lease]:
    """Hold the lease called `name` for a block."""
    lease = acquire(settings, name, f"{name} (pid {os.getpid()})")
    try:
        yield lease
    finally:
        lease.release()


class FileLease:
    """A locked file that holds ``<token> <holder>``."""

    def __init__(self, path: Path, descriptor: int, token: int) -> None:
        self.path, self.token, self._descriptor = path, token, descriptor

    @classmethod
    def attempt(cls, path: Path, holder: str) -> FileLease | str:
        """The lease, or who holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _, _, who = _content(descriptor).partition(" ")
            os.close(descriptor)
            return who or "another process"
        token = int(_content(descriptor).partition(" ")[0] or 0) + 1
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{token} {holder}".encode(), 0)
        return cls(path, descriptor, token)

    def check(self) -> None:
        found = self.path.read_text().partition(" ")[0]
        if found != str(self.token):
            raise ServiceUnavailable(
                f"lease {self.path.name} has token {found}, this writer's is {self.token}: another writer took over"
            )

    def release(self) -> None:
        os.close(self._descriptor)


def _content(descriptor: int) -> str:
    return os.pread(descriptor, 4096, 0).decode()


class DatabaseLease:
    """A PostgreSQL advisory lock on a connection of its own; the token is a row of ``matinee_lease``."""

    def __init__(self, engine: Any, connection: Any, name: str, key: int, token: int) -> None:
        self.token, self._engine, self._connection, self._name, self._key = token, engine, connection, name, key

    @classmethod
    def attempt(cls, uri: str, name: str, holder: str) -> DatabaseLease | str:
        """The lease, or who holds it."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.exc import OperationalError
        from sqlalchemy.pool import NullPool

        engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        key = int.from_bytes(hashlib.sha256(f"matinee {name}".encode()).digest()[:8], "big", signed=True)
        try:
            connection = engine.connect()
        except OperationalError as error:
            raise ServiceUnavailable(f"the lake's PostgreSQL does not answer: {error.orig}") from error
        _make_token_table(connection)
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            who = connection.execute(
                text("SELECT holder FROM matinee_lease WHERE name = :name"), {"name": name}
            ).scalar()
            connection.close()
            return str(who or "another process")
        take = text(
            "INSERT INTO matinee_lease (name, token, holder) VALUES (:name, 1, :holder) "
            "ON CONFLICT (name) DO UPDATE SET token = matinee_lease.token + 1, holder = excluded.holder RETURNING token"
        )
        token = connection.execute(take, {"name": name, "holder": holder}).scalar()
        return cls(engine, connection, name, key, int(token))

    def check(self) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError

        try:
            found = self._connection.execute(
                text("SELECT token FROM matinee_lease WHERE name = :n"), {"n": self._name}
            ).scalar()
        except DBAPIError as error:
            raise ServiceUnavailable(
                f"the connection that held the lease {self._name} is gone: {error.orig}"
            ) from error
        if found != self.token:
            raise ServiceUnavailable(
                f"lease {self._name} has token {found}, this writer's is {self.token}: another writer took over"
            )

    def release(self) -> None:
        self._connection.close()
        self._engine.dispose()


def _make_token_table(connection: Any) -> None:
    """Concurrent CREATE TABLE IF NOT EXISTS can collide in PostgreSQL's catalogue: one short lock around it."""
    from sqlalchemy import text

    if connection.execute(text("SELECT to_regclass('matinee_lease') IS NOT NULL")).scalar():
        return
    connection.execute(text("SELECT pg_advisory_lock(hashtext('matinee_lease'))"))
    connection.execute(
        text(
            "CREATE TABLE IF NOT EXISTS matinee_lease "
            "(name text PRIMARY KEY, token bigint NOT NULL, holder text NOT NULL)"
        )
    )
    connection.execute(text("SELECT pg_advisory_unlock(hashtext('matinee_lease'))"))
