"""The front door: one command line over all rooms, importing an engine only when a command needs it.

Every subcommand lives in its room's ``cli.py``; this file knows their names and one line about each, turns errors into
exit codes (0 done, 1 internal, 2 usage or configuration, 3 input missing, 4 audit failed, 5 service unavailable,
130 interrupted) and puts ``--config``, ``--profile`` and ``--demo`` into the environment, where ``conf.settings`` and
every child process find them.
"""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

try:
    import click

    from conf.errors import INTERRUPTED, TERMINATED, ConfigError, MatineeError, UsageError, stopped
except ModuleNotFoundError:
    sys.exit("error: this Python has none of matinee's libraries: run `make setup`, then .venv/bin/matinee")
except KeyboardInterrupt:  # before `main` listens
    print("interrupted", file=sys.stderr)
    sys.exit(130)

# name: (module, attribute, what it does), in the order of the help.
COMMANDS = {
    "demo": ("demo.cli", "demo", "Play the whole loop on this machine and write the report."),
    "up": ("conf.cli", "up", "Start the Kafka broker and the Flink cluster of this machine."),
    "down": ("conf.cli", "down", "Stop exactly what `up` started."),
    "status": ("conf.cli", "status", "Show the stack's processes, their health, and the stream jobs."),
    "logs": ("conf.cli", "logs", "Print the end of a process's log."),
    "doctor": ("conf.cli", "doctor", "Check this machine: Python, JDK, memory, disk, ports, jars, environments."),
    "config": ("conf.cli", "config", "Print every setting and where it comes from."),
    "world": ("streaming.cli", "world", "Make the seeded service's events and send them to Kafka."),
    "stream": ("streaming.cli", "stream", "Submit, watch and stop the stream jobs."),
    "alerts": ("streaming.alert_cli", "alerts", "Raise incidents from the stream; list, ack, mute, resolve."),
    "pages": ("streaming.page_cli", "pages", "Correct home pages right after a play; show one."),
    "profile": ("streaming.profile_cli", "profile", "Say what a profile wants: not this show, forget, opt out, erase."),
    "events": ("schemas.cli", "events", "Check a file of your own events."),
    "job": ("jobs.cli", "job", "Run batch jobs for a date or a range of dates."),
    "model": ("jobs.model_cli", "model", "Show versions of the recommender and why they serve or not; roll back."),
    "collector": ("web.cli", "collector", "Take players' CMCD reports over HTTP."),
    "sql": ("lake.cli", "sql", "Ask the lake a question in SQL."),
    "session": ("jobs.session_view", "session", "Draw one session: states, stalls, repairs and raw events."),
    "why": ("lake.cli", "why", "Explain a row of a home page."),
    "schemas": ("schemas.cli", "schemas", "Check and generate what follows from the records."),
    "docs": ("schemas.cli", "docs", "Write the data dictionary."),
    "airflow": ("airflow_dags.cli", "airflow", "Run the Airflow scheduler with our DAGs on loopback."),
    "spark-cluster": ("conf.cli", "spark_cluster", "Start or stop a standalone Spark cluster on loopback."),
    "dist": ("conf.cli", "dist", "Write what spark-submit needs on a cluster into dist/."),
    "clean": ("conf.cli", "clean", "Remove what demos and runs left under var/, environments and jars kept."),
}


class _Rooms(click.Group):
    """A group that imports a room only when one of its commands is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"No such command {cmd_name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return load_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


def load_command(name: str) -> click.Command:
    """Import one command; ``ConfigError`` if its room, or a library it needs, is not here."""
    module, attribute, _ = COMMANDS[name]
    try:
        room = importlib.import_module(module)
    except ModuleNotFoundError as error:
        absent = error.name or module
        if absent == module or module.startswith(f"{absent}."):
            raise ConfigError(
                f"`matinee {name}` lives in {module.replace('.', '/')}.py, which this checkout does not have"
            ) from error
        raise ConfigError(
            f"`matinee {name}` needs the module {absent!r}, which {sys.executable} lacks: run `make setup`"
        ) from error
    command = getattr(room, attribute, None)
    if not isinstance(command, click.Command):
        raise ConfigError(f"`matinee {name}`: {module.replace('.', '/')}.py defines no command {attribute!r}")
    return command


@click.group(cls=_Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="A settings file laid over the profile.")
@click.option("--profile", help="A profile of conf/profiles: local (the default) or cluster.")
@click.option("--demo", metavar="[ID]", help="Use the lake and topics of a demo run: its id, by default the latest.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(config: Path | None, profile: str | None, demo: str | None, debug: bool) -> None:
    """matinee: quality of experience, personalization and delivery of a video service on one stream of events."""
    if config is not None and demo is not None:
        raise UsageError("--config and --demo both name a settings file: give one of them")
    if config is not None:
        os.environ["MATINEE_CONFIG"] = str(config.expanduser().resolve())
    if demo is not None:
        os.environ["MATINEE_CONFIG"] = str(demo_settings(demo))
    if profile is not None:
        os.environ["MATINEE__PROFILE"] = profile


def demo_settings(identity: str) -> Path:
    """The settings file of a demo run under ``<var>/demo``; ``latest`` is the newest one that came to its end, or, if
    none has, the newest."""
    from conf.settings import load

    folder = load().paths.var / "demo"
    if identity != "latest":
        path = folder / identity / "settings.yaml"
        if path.is_file():
            return path
    found = (path for path in folder.glob("*/settings.yaml") if not path.parent.is_symlink())
    runs = sorted(found, key=lambda path: path.stat().st_mtime)
    if not runs:
        raise ConfigError(f"{folder} holds no demo run: play one with `make demo`")
    if identity == "latest":
        ended = [run for run in runs if (run.parent / "report.html").is_file()]
        chosen = (ended or runs)[-1]
        if runs[-1] not in ended:
            taken = f"taken is {chosen.parent.name}, which did" if ended else "none has yet"
            print(f"demo {runs[-1].parent.name} has not come to its end; {taken}", file=sys.stderr)
        return chosen
    raise ConfigError(
        f"{folder} holds no demo run {identity!r}; there are {', '.join(run.parent.name for run in runs)}"
    )


def _with_demo_value(arguments: list[str]) -> list[str]:
    """``--demo`` without an id, before a command or another option, means the latest run."""
    done: list[str] = []
    for place, word in enumerate(arguments):
        if word in COMMANDS:
            return done + arguments[place:]
        following = arguments[place + 1] if place + 1 < len(arguments) else None
        bare = word == "--demo" and (following is None or following.startswith("-") or following in COMMANDS)
        done.append("--demo=latest" if bare else word)
    return done


def _terminated(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, having said what went wrong."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    signal.signal(signal.SIGTERM, _terminated)  # so that children are stopped by their `finally`
    try:
        result: Any = cli.main(_with_demo_value(words), prog_name="matinee", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more can be said
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost one: nothing is hidden, it becomes an exit code
        code = stopped(error)
        if code is None:
            return _report(error, debug)
        print("interrupted" if code == INTERRUPTED else "terminated", file=sys.stderr)
        return code
    return result if isinstance(result, int) else 0


def _report(error: Exception, debug: bool) -> int:
    """Say what happened; an exception with an ``exit_code`` was foreseen, any other is ours to mend."""
    if debug:
        traceback.print_exception(error)
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        print(f"error: {error}", file=sys.stderr)
        return code
    way_out = "" if debug else " (matinee --debug ... shows the traceback)"
    print(f"internal error: {type(error).__name__}: {error}{way_out}", file=sys.stderr)
    return MatineeError.exit_code


if __name__ == "__main__":
    sys.exit(main())
