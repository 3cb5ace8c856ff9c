"""One writer per table: on one machine by a file, on PostgreSQL by the server; a token tells who came last."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf.errors import ServiceUnavailable
from conf.settings import ROOT, Settings
from lake import lease
from tests.fixtures.spark import lake_variables
from tests.fixtures.stack import free_ports
from tests.lake.facts import settings_of

HOLD = "import sys; from conf.settings import load; from lake import lease; held = lease.acquire(load(), 'silver.play', 'job x of d (pid 1)'); print(held.token, flush=True); sys.stdin.read()"  # noqa: E501


def _holder(variables: dict[str, str]) -> subprocess.Popen[str]:
    env = {**os.environ, **variables, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip()
    return child


def _laws(settings: Settings, variables: dict[str, str]) -> None:
    """Held by another process: refused with its name; free the moment it is killed; the token has grown."""
    first = lease.acquire(settings, "silver.play", "me")
    first.check()
    first.release()
    child = _holder(variables)
    try:
        with pytest.raises(ServiceUnavailable, match="job x of d"):
            lease.acquire(settings, "silver.play", "me", wait_s=0.3)
        lease.acquire(settings, "silver.session", "me").release()
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    after = lease.acquire(settings, "silver.play", "me", wait_s=20)
    assert after.token == first.token + 2
    after.check()
    after.release()


def test_file_lease(tmp_path: Path) -> None:
    _laws(settings_of(tmp_path), lake_variables(tmp_path))


def test_a_lost_file_lease_is_noticed(tmp_path: Path) -> None:
    held = lease.acquire(settings_of(tmp_path), "silver.play", "me")
    assert isinstance(held, lease.FileLease)
    held.path.write_text(f"{held.token + 1} somebody else")
    with pytest.raises(ServiceUnavailable, match="another writer took over"):
        held.check()
    held.release()


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a PostgreSQL server of its own."""
    installed = [Path(p) for p in [shutil.which("initdb") or ""] if p] + sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb")
    )
    if not installed:
        pytest.skip("PostgreSQL is not installed: the shared catalogue's lease is not tested")
    tools = installed[-1].parent
    folder = tmp_path_factory.mktemp("pg")
    user = None
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres").pw_name
        for path in (folder, *list(folder.parents)[:2]):
            path.chmod(0o755)
        shutil.chown(folder, user)
    port, data = free_ports(1)[0], folder / "data"
    subprocess.run(
        [tools / "initdb", "-D", data, "-U", "matinee", "-A", "trust"], user=user, check=True, capture_output=True
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    start = [tools / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start"]
    subprocess.run(start, user=user, check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql+psycopg2://matinee@127.0.0.1:{port}/postgres"
    finally:
        stop = [tools / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stop, user=user, check=True, stdout=subprocess.DEVNULL)


def test_postgresql_lease(postgresql: str, tmp_path: Path) -> None:
    variables = {**lake_variables(tmp_path), "MATINEE__LAKE__CATALOG_URI": postgresql}
    settings = settings_of(tmp_path, MATINEE__LAKE__CATALOG_URI=postgresql)
    _laws(settings, variables)
    held = lease.acquire(settings, "silver.play", "me")
    assert isinstance(held, lease.DatabaseLease)
    held._connection.connection.driver_connection.close()
    with pytest.raises(ServiceUnavailable, match="gone"):
        held.check()


def test_catalogue_on_postgresql(postgresql: str, tmp_path: Path) -> None:
    from lake.catalog import bootstrap, spark_properties
    from schemas import tables as t

    settings = settings_of(tmp_path, MATINEE__LAKE__CATALOG_URI=postgresql)
    catalog = bootstrap(settings, [t.PLAY])
    assert catalog.list_tables("silver") == [("silver", "play")]
    properties = spark_properties(settings)
    assert properties["spark.sql.catalog.lake.uri"] == "jdbc:" + postgresql.replace("+psycopg2", "").replace(
        "matinee@", ""
    )
    assert properties["spark.sql.catalog.lake.jdbc.user"] == "matinee"
