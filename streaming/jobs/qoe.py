"""The live QoE job: PyFlink's Table API writes it, the JVM runs it; no Python touches an event.

Runs in the streaming environment as a child of `streaming.launch`: settings come as JSON on standard input, the answer
is one line of JSON on standard output. `explain` plans, `submit` plans and sends the job to the cluster.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, ExplainDetail, StatementSet, TableEnvironment

from conf.settings import Settings
from streaming.jobs import plan


def environment(options: Mapping[str, str]) -> TableEnvironment:
    """A streaming table environment with flat Flink options."""
    configuration = Configuration()
    for key, value in options.items():
        configuration.set_string(key, value)
    return TableEnvironment.create(EnvironmentSettings.new_instance().with_configuration(configuration).build())


def statements(table_env: TableEnvironment, settings: Settings) -> StatementSet:
    """The whole job as one statement set, so that the sinks share one fold."""
    for definition in plan.definitions(settings):
        table_env.execute_sql(definition)
    found = table_env.create_statement_set()
    for insert in plan.inserts(settings):
        found.add_insert_sql(insert)
    return found


def target(settings: Settings, savepoint: str | None) -> dict[str, str]:
    """Options that send the job to the session cluster, from a savepoint or retained checkpoint if one is given."""
    rest = urlsplit(settings.flink.rest_url)
    found = {
        "execution.target": "remote",
        "execution.attached": "false",
        "rest.address": rest.hostname or "127.0.0.1",
        "rest.port": str(rest.port or 8081),
    }
    return found if savepoint is None else found | {"execution.state-recovery.path": savepoint}


def main(arguments: list[str]) -> int:
    """``explain`` or ``submit``; the request on standard input: settings, jars, savepoint."""
    request = json.load(sys.stdin)
    settings = Settings.model_validate(request["settings"])
    options = plan.options(settings, [Path(jar) for jar in request["jars"]])
    if arguments == ["explain"]:
        found = statements(environment(options), settings)
        answer = {"plan": found.explain(ExplainDetail.CHANGELOG_MODE, ExplainDetail.JSON_EXECUTION_PLAN)}
    elif arguments == ["submit"]:
        result = statements(environment(options | target(settings, request["savepoint"])), settings).execute()
        client = result.get_job_client()
        if client is None:
            raise RuntimeError("Flink took the statements but named no job")
        answer = {"job_id": str(client.get_job_id())}
    else:
        raise SystemExit(f"usage: python -m streaming.jobs.qoe explain|submit, not {' '.join(arguments)!r}")
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
