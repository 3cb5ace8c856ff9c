"""The operator against real child processes: what each end of a job means to Airflow; a kill leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from airflow_dags.job_operator import JobOperator

ROOT = Path(__file__).resolve().parents[3]


def operator(tmp_path: Path, code: str, **arguments: str) -> JobOperator:
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(code))
    given = {"date": "2026-01-02"} | arguments
    return JobOperator(task_id="try", job="sessionize", command=[sys.executable, "-u", str(script)], **given)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_the_command_line_the_folder_and_the_settings_file(tmp_path: Path) -> None:
    code = f"""
        import os, sys
        from pathlib import Path
        seen = [*sys.argv[1:], os.getcwd(), os.environ["MATINEE_CONFIG"]]
        Path({str(tmp_path / "seen")!r}).write_text("|".join(seen))
    """
    operator(tmp_path, code, config="/somewhere/settings.yaml").execute({})
    seen = (tmp_path / "seen").read_text().split("|")
    assert seen == ["job", "sessionize", "--date", "2026-01-02", str(ROOT), "/somewhere/settings.yaml"]


@pytest.mark.parametrize("code", [2, 4, 130])
def test_what_trying_again_cannot_mend_fails_at_once(tmp_path: Path, code: int) -> None:
    with pytest.raises(
        AirflowFailException, match=f"sessionize --date 2026-01-02: exit code {code}, .*\nthe last words"
    ):
        operator(tmp_path, f"import sys; print('the last words'); sys.exit({code})").execute({})


@pytest.mark.parametrize("code", [1, 3, 5, 77])
def test_what_may_pass_is_left_to_the_retries(tmp_path: Path, code: int) -> None:
    with pytest.raises(AirflowException, match=f"exit code {code}, ") as raised:
        operator(tmp_path, f"import sys; sys.exit({code})").execute({})
    assert not isinstance(raised.value, AirflowFailException)


def test_a_job_ended_by_a_signal_is_left_to_the_retries(tmp_path: Path) -> None:
    with pytest.raises(AirflowException, match="ended by signal 9") as raised:
        operator(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").execute({})
    assert not isinstance(raised.value, AirflowFailException)


PARENT_AND_CHILD = """
    import os, subprocess, sys, time
    from pathlib import Path
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    part = Path({path!r}).with_suffix(".part")
    part.write_text(f"{{os.getpid()}} {{child.pid}}")
    part.rename({path!r})
    time.sleep(600)
"""


def pids(path: Path) -> list[int]:
    assert until(path.exists)
    return [int(word) for word in path.read_text().split()]


def test_a_timeout_ends_the_job_and_its_children(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    with pytest.raises(AirflowTaskTimeout), timeout(3):
        operator(tmp_path, PARENT_AND_CHILD.format(path=str(path))).execute({})
    assert all(map(gone, pids(path)))


def test_on_kill_ends_the_job_and_its_children_and_the_task_does_not_succeed(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    task = operator(tmp_path, PARENT_AND_CHILD.format(path=str(path)))
    raised: list[Exception] = []

    def run() -> None:
        try:
            task.execute({})
        except AirflowException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    started = pids(path)
    task.on_kill()
    thread.join(30)
    assert "ended by signal 15" in str(raised[0])
    assert all(map(gone, started))


TRIES = """
from datetime import datetime, timedelta
from airflow.sdk import DAG
from airflow_dags.job_operator import JobOperator
once_more = {{"retries": 1, "retry_delay": timedelta(0)}}
with DAG("tries", schedule=None, start_date=datetime(2026, 1, 1), default_args=once_more):
    for code in (3, 4, 0):
        command = [{python!r}, {script!r}, str(code)]
        JobOperator(task_id=f"code_{{code}}", job=f"code_{{code}}", command=command)
"""


def test_airflow_itself_tries_again_after_3_and_not_after_4(tmp_path: Path) -> None:
    """One real run of Airflow (`dags test`): the children count how often they were started."""
    script = tmp_path / "job.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "code, _, name, _, day = sys.argv[1:]\n"
        "with (Path(__file__).parent / name).open('a') as out:\n    print(day, file=out)\n"
        "sys.exit(int(code))\n"
    )
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "tries.py").write_text(TRIES.format(python=sys.executable, script=str(script)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    subprocess.run(["airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    done = subprocess.run(
        ["airflow", "dags", "test", "tries", "2026-01-02"], env=environment, capture_output=True, text=True
    )
    counts = {path.name: path.read_text().split() for path in tmp_path.glob("code_*")}
    assert counts == {"code_0": ["2026-01-02"], "code_3": ["2026-01-02"] * 2, "code_4": ["2026-01-02"]}, done.stdout[
        -3000:
    ]
    assert done.returncode == 1
