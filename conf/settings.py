"""Settings: one frozen tree, merged from five sources, each value knowing where it came from.

Weakest first: ``conf/base.yaml``, ``conf/profiles/<profile>.yaml``, the file named by ``MATINEE_CONFIG`` (or given),
the environment (``MATINEE__KAFKA__BOOTSTRAP``), explicit overrides. An unknown key is refused with the nearest known
one. ``{section.key}``, ``{root}`` and ``{var}`` inside a string stand for other settings, so that a port or a folder is
said once. A new setting is one line in ``base.yaml`` and one field here.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, field_validator

from conf.errors import ConfigError
from conf.layers import Shape, Tree, from_environment, nest, read_yaml

FILES = Path(__file__).resolve().parent
# Where var/ and the environments lie: the repository, or what the main.py of `make dist` says.
ROOT = Path(os.environ.get("MATINEE_HOME") or FILES.parent)
PREFIX = "MATINEE__"
CONFIG_VARIABLE = "MATINEE_CONFIG"

Port = Annotated[int, Field(ge=1, le=65535)]
Share = Annotated[float, Field(ge=0, lt=1)]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*[kmg]$")]
Word = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A text without control characters, which no line of CMCD can hold."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Paths(_Section):
    """Folders; relative ones count from the repository's root. ``var``: what runs leave; ``build``: the kernel jar."""

    var: Path
    build: Path

    @field_validator("var", "build")
    @classmethod
    def _from_root(cls, value: Path) -> Path:
        return ROOT / value.expanduser()


class Kafka(_Section):
    """The broker's address; every topic's real name is ``topic_prefix`` + name."""

    bootstrap: str
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,150}$")]
    partitions: PositiveInt
    retention_ms: Annotated[int, Field(ge=-1)]


class Flink(_Section):
    """The session cluster and what each job asks of it."""

    rest_url: str
    parallelism: PositiveInt
    checkpoint_interval_ms: PositiveInt
    state_backend: Literal["rocksdb", "hashmap"]
    state_ttl_h: PositiveInt
    watermark_slack_ms: NonNegativeInt
    cmcd_idle_ms: PositiveInt
    idle_timeout_ms: PositiveInt
    restart_attempts: PositiveInt


class Spark(_Section):
    """The batch engine; ``extra`` holds further Spark properties, passed on unchanged."""

    master: str
    driver_memory: Memory
    shuffle_partitions: PositiveInt
    extra: dict[str, str]

    @property
    def one_host(self) -> bool:
        """Whether the master is inside this process or on this machine's loopback."""
        if self.master.startswith("local"):
            return True
        address = urlsplit(self.master.removeprefix("k8s://"))
        return self.master.startswith("spark://") and _loopback(address.hostname or "")


class Lake(_Section):
    """The Iceberg catalog (SQLAlchemy form of its address), the warehouse's URI, a prefix for namespaces."""

    catalog_uri: str
    warehouse: str
    namespace_prefix: str


class Retention(_Section):
    """How many days are kept: raw records, landed rows, folded rows; and superseded states of every table."""

    raw_days: PositiveInt
    bronze_days: PositiveInt
    silver_days: PositiveInt
    snapshot_days: Annotated[float, Field(ge=0)]


class Mlflow(_Section):
    """Where runs and registered models are kept."""

    tracking_uri: str


class Fold(_Section):
    """The fold's times in milliseconds (decisions 1 and 2, and the edge rules of the metrics)."""

    lateness_ms: PositiveInt
    hold_ms: PositiveInt
    gap_wait_ms: PositiveInt
    pause_limit_ms: PositiveInt
    session_cap_ms: PositiveInt
    cause_ms: PositiveInt
    retry_ms: PositiveInt
    exit_ms: PositiveInt
    startup_ms: PositiveInt
    long_wait_ms: PositiveInt

    def text(self) -> str:
        """``lateness_ms:120000,...``, as the kernel reads it."""
        return ",".join(f"{name}:{value}" for name, value in self.model_dump().items())


class Stack(_Section):
    """What ``matinee up`` and ``matinee spark-cluster`` start, always on 127.0.0.1; sizes as Java writes them."""

    dir: Path
    broker_port: Port
    controller_port: Port
    broker_heap: Memory
    flink_rest_port: Port
    flink_rpc_port: Port
    jobmanager_memory: Memory
    taskmanager_memory: Memory
    taskmanager_slots: PositiveInt
    restart_limit: PositiveInt
    restart_window_s: PositiveInt
    health_timeout_s: PositiveInt
    spark_master_port: Port
    spark_master_ui_port: Port
    spark_workers: PositiveInt
    spark_worker_cores: PositiveInt
    spark_worker_memory: Memory

    @field_validator("dir")
    @classmethod
    def _from_root(cls, value: Path) -> Path:
        return ROOT / value.expanduser()


class Jars(_Section):
    """Where the locked JVM jars lie, and where they are fetched from if not by the client's default."""

    dir: Path
    source: str | None

    @field_validator("dir")
    @classmethod
    def _from_root(cls, value: Path) -> Path:
        return ROOT / value.expanduser()


class Collector(_Section):
    """The HTTP collector of players' reports; see docs/collector.md."""

    host: str
    port: Port
    workers: PositiveInt
    token: Annotated[str, Field(min_length=1)] | None
    origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/]+)$")], ...]
    addresses: Path | None
    forwarded_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None
    hosts: dict[Word, Word]
    buffer_bytes: PositiveInt
    body_bytes: Annotated[int, Field(ge=1, le=900_000)]  # a broker by itself takes messages up to 1 MB
    head_timeout_ms: PositiveInt
    body_timeout_ms: PositiveInt
    sessions: PositiveInt
    connections: PositiveInt
    ack_timeout_ms: PositiveInt
    gone: bool

    @field_validator("addresses")
    @classmethod
    def _from_root(cls, value: Path | None) -> Path | None:
        return None if value is None else ROOT / value.expanduser()


class Experiment(_Section):
    """The two holdbacks and their own salts (decision 21), and the least probability of an artwork."""

    page_holdback: Share
    page_salt: str
    artwork_holdback: Share
    artwork_salt: str
    artwork_floor: Share


class Pages(_Section):
    """What home pages need to know of the world: the time zone of each country's viewers."""

    time_zones: dict[str, str]

    @field_validator("time_zones")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for country, zone in value.items():
            try:
                ZoneInfo(zone)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError(f"{country}: {zone!r} is no IANA time zone, such as Europe/Berlin") from error
        return value


class Delivery(_Section):
    """How fill commands name a file (RFC 8007): the address before its path, and this service's id in ``cdn-path``."""

    base_url: str
    cdn_provider_id: str


class Alerts(_Section):
    """What the alert process reads: its rules file; without ``counters`` the stream job leaves ``qoe_step`` out."""

    counters: bool
    rules: Path

    @field_validator("rules")
    @classmethod
    def _from_root(cls, value: Path) -> Path:
        return ROOT / value.expanduser()


class Airflow(_Section):
    """The scheduler of ``matinee airflow``, on 127.0.0.1; without ``calendar`` its DAGs run only when asked."""

    home: Path
    port: Port
    parallelism: PositiveInt
    calendar: bool


class Settings(_Section):
    """The whole tree; made by ``load`` alone."""

    profile: str
    paths: Paths
    kafka: Kafka
    flink: Flink
    spark: Spark
    lake: Lake
    retention: Retention
    mlflow: Mlflow
    fold: Fold
    stack: Stack
    jars: Jars
    collector: Collector
    experiment: Experiment
    pages: Pages
    delivery: Delivery
    alerts: Alerts
    airflow: Airflow


def load(
    profile: str | None = None,
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force; ``overrides`` is a nested mapping. ``ConfigError`` names a wrong one and its source."""
    return _settings(*merge(profile, config, overrides, environ))


def given_settings(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The settings file that ``--config`` or ``MATINEE_CONFIG`` names, as it is; empty without one."""
    chosen = (os.environ if environ is None else environ).get(CONFIG_VARIABLE)
    return read_yaml(Path(chosen).expanduser()) if chosen else {}


def explain(
    profile: str | None = None, config: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Any, str]]:
    """(dotted key, value in force, source) of every setting, in the order of ``base.yaml``."""
    tree, values = merge(profile, config, None, environ)
    _settings(tree, values)
    for key, value in values.items():
        yield key, value, tree.sources[key]


def merge(
    profile: str | None,
    config: str | Path | None,
    overrides: Mapping[str, Any] | None,
    environ: Mapping[str, str] | None,
) -> tuple[Tree, dict[str, Any]]:
    """The five sources laid over each other: the tree with its sources, the values with placeholders filled."""
    environ = os.environ if environ is None else environ
    shape = _shape(Settings)
    layers: list[tuple[str, dict[str, Any]]] = []
    chosen = config or environ.get(CONFIG_VARIABLE)
    if chosen:
        layers.append((str(chosen), read_yaml(Path(chosen).expanduser())))
    layers += from_environment(environ, PREFIX, shape, frozenset(_structured(Settings)))
    layers.append(("command line", dict(overrides or {})))
    named = profile or next((layer["profile"] for _, layer in reversed(layers) if "profile" in layer), None)
    named = str(named or "local")
    path = FILES / "profiles" / f"{named}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"there is no profile {named!r}; conf/profiles has {known}")
    tree = Tree(shape)
    tree.lay(read_yaml(FILES / "base.yaml"), "conf/base.yaml")
    tree.lay(read_yaml(path), f"conf/profiles/{named}.yaml")
    for source, layer in layers:
        tree.lay(layer, source)
    tree.lay({"profile": named}, "profile" if profile else tree.sources["profile"])
    fixed = {"root": str(ROOT)}
    var = tree.value("paths.var", fixed)
    if not isinstance(var, str):
        raise ConfigError(f"paths.var = {var!r} ({tree.sources['paths.var']}): a folder's path is needed")
    var = Path(var).expanduser()
    fixed["var"] = str(ROOT / var)
    return tree, tree.filled(fixed, verbatim=frozenset({"spark.extra"}))


def _settings(tree: Tree, values: dict[str, Any]) -> Settings:
    try:
        settings = Settings.model_validate(
            {name: {} for name, below in tree.shape.items() if below is not None} | nest(values)
        )
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            lines.append(f"{key} = {problem['input']!r} ({tree.sources.get(key, 'unset')}): {problem['msg']}")
        raise ConfigError("; ".join(lines)) from None
    _refuse_equal_ports(settings.stack, tree)
    _refuse_one_host_stores(settings, tree)
    return settings


def _refuse_equal_ports(stack: Stack, tree: Tree) -> None:
    """All of them may be open at once on 127.0.0.1."""
    seen: dict[int, str] = {}
    for name in (name for name in Stack.model_fields if name.endswith("_port")):
        port, key = getattr(stack, name), f"stack.{name}"
        if port in seen:
            raise ConfigError(
                f"{seen[port]} and {key} ({tree.sources[key]}) are both {port}: give each a port of its own"
            )
        seen[port] = key


def _refuse_one_host_stores(settings: Settings, tree: Tree) -> None:
    """SQLite and ``file:`` live on one machine; Spark on several would each see its own (decision 18)."""
    if settings.spark.one_host:
        return
    lake = settings.lake
    found = []
    if lake.catalog_uri.startswith("sqlite"):
        found.append(
            f"lake.catalog_uri = {lake.catalog_uri} ({tree.sources['lake.catalog_uri']}): set a PostgreSQL address"
        )
    if "://" not in lake.warehouse or lake.warehouse.startswith("file:"):
        found.append(
            f"lake.warehouse = {lake.warehouse} ({tree.sources['lake.warehouse']}): set an object store, s3a://bucket/..."
        )
    if found:
        raise ConfigError(
            f"spark.master is {settings.spark.master}, not on this machine, and these live on one machine only: "
            + "; ".join(found)
        )


def _shape(model: type[BaseModel]) -> Shape:
    shape: dict[str, Shape | None] = {}
    for name, info in model.model_fields.items():
        kind = info.annotation
        shape[name] = _shape(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return shape


def _structured(model: type[BaseModel]) -> Iterator[str]:
    """Dotted keys of the mappings and lists."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (f"{name}.{key}" for key in _structured(kind))
        elif get_origin(kind) in (dict, tuple):
            yield name


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
