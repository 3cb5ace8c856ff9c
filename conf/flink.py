"""The Flink session cluster of the streaming environment's wheel: files, two processes, health, jobs."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conf import environments, jars, java
from conf.errors import ServiceUnavailable
from conf.settings import Settings
from conf.supervisor import Process

NAMES = ("jobmanager", "taskmanager")
_TIMEOUT_S = 5.0

# Console output alone; the supervisor appends it to one log file a process.
_LOG4J = """\
rootLogger.level = {level}
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
logger.netty.name = org.jboss.netty.channel.DefaultChannelPipeline
logger.netty.level = OFF
"""


@dataclass(frozen=True)
class Job:
    """A job as the cluster sees it; ``restarts`` and the checkpoint figures are ``None`` while it has none."""

    id: str
    name: str
    state: str
    restarts: int | None
    checkpoints: int | None
    failed_checkpoints: int | None
    last_failure: str | None


def configuration(settings: Settings, folder: Path) -> dict[str, str]:
    """Flat Flink options of the session cluster; the wheel's own ``env.java.opts.all`` is kept."""
    stack = settings.stack
    wheel = yaml.safe_load((environments.flink_home() / "conf" / "config.yaml").read_text())
    checkpoints = folder / "checkpoints"
    return {
        "env.java.opts.all": wheel["env"]["java"]["opts"]["all"],
        # It plans nothing and counts little: the second compiler would take longer to start than it ever saves.
        "env.java.opts.jobmanager": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        # G1 marks without end beside a heap of this size that is half full: a quarter of the job's CPU, this a seventh.
        # What is young is copied at each collection, folds among it: with half of the heap there are fewer of them.
        "env.java.opts.taskmanager": "-XX:+UseParallelGC -XX:NewRatio=1",
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": str(stack.flink_rpc_port),
        "jobmanager.bind-host": "127.0.0.1",
        "jobmanager.memory.process.size": stack.jobmanager_memory,
        "jobmanager.memory.jvm-overhead.min": "96m",
        "jobmanager.memory.jvm-metaspace.size": "192m",
        "jobmanager.memory.off-heap.size": "64m",
        "jobmanager.execution.failover-strategy": "region",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.memory.process.size": stack.taskmanager_memory,
        "taskmanager.memory.jvm-overhead.min": "128m",
        "taskmanager.memory.network.min": "96m",
        "taskmanager.memory.network.max": "96m",
        "taskmanager.memory.managed.fraction": "0.05",  # a job with RocksDB says itself what a slot gets
        "taskmanager.numberOfTaskSlots": str(stack.taskmanager_slots),
        "parallelism.default": str(settings.flink.parallelism),
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": str(stack.flink_rest_port),
        "rest.bind-port": str(stack.flink_rest_port),
        "io.tmp.dirs": str(folder / "tmp"),
        "web.upload.dir": str(folder / "upload"),
        "state.backend.type": "hashmap",
        "state.changelog.storage": "filesystem",  # for jobs that ask for it
        "dstl.dfs.base-path": checkpoints.as_uri(),
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "execution.checkpointing.savepoint-dir": (folder / "savepoints").as_uri(),
        "execution.checkpointing.num-retained": "2",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        # Without a bound a job that cannot run restarts for ever in silence.
        "restart-strategy.type": "failure-rate",
        "restart-strategy.failure-rate.max-failures-per-interval": "8",
        "restart-strategy.failure-rate.failure-rate-interval": "5 min",
        "restart-strategy.failure-rate.delay": "1 s",
        # Past its start-up time Flink's standalone resource manager refuses slots at once while a TaskManager is away;
        # ours is brought back by the supervisor, so a job waits for it instead (slot.request.timeout bounds the wait).
        "resourcemanager.standalone.start-up-time": "200 d",
        # A killed TaskManager is noticed in seconds, a long pause of a busy machine is not taken for one.
        "heartbeat.interval": "2000",
        "heartbeat.timeout": "40000",
        "heartbeat.rpc-failure-threshold": "2",
        "web.refresh-interval": "3000",
    }


def prepare(settings: Settings, folder: Path) -> list[Process]:
    """Write the cluster's files below ``folder`` and return JobManager and TaskManager to supervise."""
    options = configuration(settings, folder)
    libraries = folder / "lib"
    shutil.rmtree(libraries, ignore_errors=True)
    for name in ("tmp", "upload", "checkpoints", "savepoints", "lib"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # The wheel stays as it is; connector, codec and Avro stand beside its own jars in a folder of links.
    for jar in [*(environments.flink_home() / "lib").glob("*.jar"), *jars.jar_paths("flink", settings)]:
        (libraries / jar.name).symlink_to(jar.resolve())
    # One folder each: the start scripts rewrite config.yaml, and they run at the same moment.
    for name in (*NAMES, "client"):
        _write_configuration(folder / "conf" / name, options, "INFO" if name in NAMES else "WARN")
    scripts = environments.flink_home() / "bin"
    commands = [[str(scripts / f"{name}.sh"), "start-foreground"] for name in NAMES]
    jobmanager, taskmanager = (environment(settings, folder, name) for name in NAMES)
    # A TaskManager would wait out the heartbeat before it turned to the new JobManager, which knows no job it works on.
    return [
        Process(NAMES[0], commands[0], jobmanager),
        Process(NAMES[1], commands[1], taskmanager, of=NAMES[0]),
    ]


def _write_configuration(folder: Path, options: dict[str, str], level: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(options, width=1_000_000, sort_keys=False))
    for name in ("log4j-console.properties", "log4j-cli.properties", "log4j.properties"):
        (folder / name).write_text(_LOG4J.replace("{level}", level))


def environment(settings: Settings, folder: Path, role: str = "client") -> dict[str, str]:
    """The variables under which the wheel's scripts, and a PyFlink client, meet this cluster and its libraries."""
    python = str(environments.python("streaming"))
    return {
        "JAVA_HOME": str(java.home()),
        "FLINK_HOME": str(environments.flink_home()),
        "FLINK_CONF_DIR": str(folder / "conf" / role),
        "FLINK_LIB_DIR": str(folder / "lib"),
        "FLINK_LOG_DIR": str(folder / "tmp"),
        "FLINK_PID_DIR": str(folder / "tmp"),
        "FLINK_ENV_JAVA_OPTS": "",
        "PYFLINK_PYTHON": python,
        "PYFLINK_CLIENT_EXECUTABLE": python,
        "HADOOP_CLASSPATH": "",
    }


def get(settings: Settings, path: str) -> Any:
    """JSON of a REST path such as ``/overview``; ``ServiceUnavailable`` if the JobManager does not answer."""
    url = settings.flink.rest_url.rstrip("/") + path
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ServiceUnavailable(
            f"Flink does not answer at {url} ({error}): run `make up`, see `matinee status`"
        ) from None


def ill(settings: Settings) -> str | None:
    """``None`` if the JobManager answers and every slot is there, otherwise the reason."""
    try:
        overview = get(settings, "/overview")
    except ServiceUnavailable as error:
        return str(error)
    slots = overview["slots-total"]
    if overview["taskmanagers"] < 1 or slots < settings.stack.taskmanager_slots:
        return (
            f"Flink has {overview['taskmanagers']} TaskManagers and {slots} of {settings.stack.taskmanager_slots} slots"
        )
    return None


def list_jobs(settings: Settings) -> list[Job]:
    """Every job the cluster knows, the latest first. One whose ``restarts`` grow is failing, whatever its state."""
    jobs = get(settings, "/jobs/overview")["jobs"]
    return [_job(settings, raw) for raw in sorted(jobs, key=lambda job: -int(job["start-time"]))]


def _job(settings: Settings, raw: dict[str, Any]) -> Job:
    identity = raw["jid"]
    metrics = {m["id"]: m.get("value") for m in get(settings, f"/jobs/{identity}/metrics?get=numRestarts")}
    counts = get(settings, f"/jobs/{identity}/checkpoints").get("counts", {})
    failures = (
        get(settings, f"/jobs/{identity}/exceptions?maxExceptions=1").get("exceptionHistory", {}).get("entries", [])
    )
    cause = failures[0]["stacktrace"].strip() if failures else None
    restarts = metrics.get("numRestarts")
    return Job(
        id=identity,
        name=raw["name"],
        state=raw["state"],
        restarts=None if restarts is None else int(restarts),
        checkpoints=counts.get("completed"),
        failed_checkpoints=counts.get("failed"),
        last_failure=None if cause is None else _root_cause(cause),
    )


def _root_cause(stacktrace: str) -> str:
    lines = [line for line in stacktrace.splitlines() if not line.startswith("\t")]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines)[-1][:300]
