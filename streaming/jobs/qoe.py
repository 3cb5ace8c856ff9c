"""The live QoE job: PyFlink writes it, the JVM runs it; no Python touches an event.

Runs in the streaming environment as a child of `streaming.launch`: settings come as a line of JSON on standard input,
the answer is one line of JSON on standard output. `explain` plans. `submit` plans, which needs no cluster, and sends
the job when a second line says from where it goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import ExplainDetail, StatementSet, StreamTableEnvironment
from pyflink.util.java_utils import add_jars_to_context_class_loader, to_jarray

from conf.settings import Settings
from streaming.jobs import plan


def environment(options: Mapping[str, str]) -> StreamTableEnvironment:
    """A streaming table environment with flat Flink options; its jars can be called from here."""
    configuration = _configuration(options)
    add_jars_to_context_class_loader(options["pipeline.jars"].split(";"))
    # get_execution_environment would start a cluster in this process, whatever the target says.
    made = get_gateway().jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment
    return StreamTableEnvironment.create(StreamExecutionEnvironment(made(configuration._j_configuration)))


def _configuration(options: Mapping[str, str]) -> Configuration:
    found = Configuration()
    for key, value in options.items():
        found.set_string(key, value)
    return found


def fold(
    table_env: StreamTableEnvironment, sources: Sequence[str], output: str, kept: int = plan.FOLDS_KEPT
) -> None:
    """View `output` of the kernel's rows, from views of raw messages; a subtask keeps so many folds."""
    found = get_gateway().jvm
    for word in plan.FOLD.split("."):
        found = getattr(found, word)
    names = to_jarray(get_gateway().jvm.java.lang.String, sources)
    found.view(table_env._j_tenv, names, output, plan.UID, kept)


def statements(table_env: StreamTableEnvironment, settings: Settings) -> StatementSet:
    """The whole job as one statement set, so that the sinks share one fold."""
    for definition in plan.definitions(settings):
        table_env.execute_sql(definition)
    return inserts(table_env, settings)


def inserts(table_env: StreamTableEnvironment, settings: Settings) -> StatementSet:
    """The fold and what follows it, once the tables are there."""
    fold(table_env, plan.MESSAGES, "folded")
    for view in plan.views():
        table_env.execute_sql(view)
    found = table_env.create_statement_set()
    for insert in plan.inserts(settings):
        found.add_insert_sql(insert)
    return found


def target(settings: Settings) -> dict[str, str]:
    """Options that send the job to the session cluster."""
    rest = urlsplit(settings.flink.rest_url)
    return {
        "execution.target": "remote",
        "execution.attached": "false",
        "rest.address": rest.hostname or "127.0.0.1",
        "rest.port": str(rest.port or 8081),
    }


def submit(table_env: StreamTableEnvironment, name: str, savepoint: str | None) -> str:
    """Send what was planned, to go on from a savepoint or retained checkpoint if one is given; the job's id."""
    env = table_env._j_tenv.execEnv()
    if savepoint is not None:
        env.configure(_configuration({"execution.state-recovery.path": savepoint})._j_configuration)
    return str(env.executeAsync(name).getJobID().toString())


def main(arguments: list[str]) -> int:
    """``explain`` or ``submit``; on standard input a line with settings and jars, to submit one with savepoint too."""
    request = json.loads(sys.stdin.readline())
    settings = Settings.model_validate(request["settings"])
    options = plan.options(settings, [Path(jar) for jar in request["jars"]])
    if arguments == ["explain"]:
        found = statements(environment(options), settings)
        answer = {"plan": found.explain(ExplainDetail.CHANGELOG_MODE, ExplainDetail.JSON_EXECUTION_PLAN)}
    elif arguments == ["submit"]:
        table_env = environment(options | target(settings))
        statements(table_env, settings).attach_as_datastream()
        said = sys.stdin.readline()
        if not said:  # whoever asked has gone, or another one has sent the job meanwhile
            return 0
        answer = {"job_id": submit(table_env, plan.name(settings), json.loads(said)["savepoint"])}
    else:
        raise SystemExit(f"usage: python -m streaming.jobs.qoe explain|submit, not {' '.join(arguments)!r}")
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
