"""Commands of this room: ``collector``."""

from __future__ import annotations

import click

from conf import supervisor
from conf.errors import ConfigError
from conf.settings import load


@click.command()
@click.option("--host", help="Address to listen on; default: collector.host.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Default: collector.port.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes, one a core; default: collector.workers.")
def collector(host: str | None, port: int | None, workers: int | None) -> None:
    """Take players' CMCD reports (POST /cmcd) and write them to topic cmcd; ends with Ctrl-C.

    A POST is answered 204 when the broker has it. docs/collector.md says how to point a player here.
    """
    from functools import partial

    import uvicorn

    from web import sink
    from web.addresses import Addresses
    from web.heads import Bounded

    settings = load()
    held = settings.collector
    address, door = host or held.host, port or held.port
    if busy := supervisor.busy_ports({"collector.port": door}):
        raise ConfigError(f"{busy[0]}. Stop it, or give another with --port")
    Addresses.read(held.addresses)
    sink.check(settings)
    click.echo(f"players post to http://{address}:{door}/cmcd; topic {settings.kafka.topic_prefix}cmcd")
    # No access log: it would hold the addresses that the collector drops. What a proxy says of an address is read from
    # collector.forwarded_header alone: uvicorn's own rule believes any program of this machine. uvicorn refuses the
    # connection that makes its limit full, so the limit is one more than what is served.
    uvicorn.run(
        "web.collector:create", factory=True, host=address, port=door, workers=workers or held.workers,
        access_log=False, log_level="warning", server_header=False, proxy_headers=False, timeout_graceful_shutdown=15,
        limit_concurrency=held.connections + 1,
        http=partial(Bounded, head_timeout_s=held.head_timeout_ms / 1000),
    )  # fmt: skip
