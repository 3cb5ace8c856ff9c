"""A worked timeline of every metric, golden cases by the reference fold: ``.venv/bin/python -m bench.metric_pictures``.

Writes docs/generated/metrics/<metric>.svg; ``--check`` writes nothing and fails if one is not what would be written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from conf.errors import AuditFailed
from conf.settings import ROOT
from models.playback import picture
from models.playback.spans import fold
from schemas.metrics import METRICS
from tests.models.playback import golden

FOLDER = ROOT / "docs" / "generated" / "metrics"
CASES = {
    "attempts": "recovered_start",
    "plays": "ad_before_content",
    "video_start_time": "pause_before_ad",
    "any_start_time": "pause_before_ad",
    "startup_score": "plain_play",
    "exit_before_start_rate": "short_wait_exit",
    "long_wait_exit_rate": "long_wait_exit",
    "start_failure_rate": "start_failure",
    "start_failure_technical_rate": "start_failure",
    "start_failure_business_rate": "business_failure",
    "playback_failure_rate": "playback_failure",
    "playback_failure_technical_rate": "playback_failure",
    "playback_failure_business_rate": "code_of_the_event_before",
    "recovered_failure_rate": "recovered_failure",
    "connection_stall_count": "stall_after_seek",
    "connection_stall_time": "stall_causes",
    "connection_rebuffer_ratio": "stall_causes",
    "connection_exit_rate": "exit_after_stall",
    "played_bitrate": "playback_rate",
    "switch_count": "ladder_climb",
    "switch_up_count": "ladder_climb",
    "switch_down_count": "ladder_climb",
    "switch_up_size": "ladder_climb",
    "switch_down_size": "ladder_climb",
    "startup_switch_count": "ladder_climb",
    "watched_time": "background",
    "media_time": "playback_rate",
    "content_time": "content_seen_twice",
    "concurrency": "background",
    "repaired_stall_share": "repaired_stall",
    "unverified_gap_rate": "gap_in_background",
}
"""Golden case of each metric; the others are worked on the case `stall`."""


def pictures() -> dict[str, str]:
    """File name to text."""
    found = {}
    for metric in METRICS:
        case = CASES.get(metric.name, "stall")
        folded = fold(golden.events(case), golden.policy(case), "final")
        found[f"{metric.name}.svg"] = picture.svg(metric, folded, case.replace("_", " "))
    return found


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a picture is not up to date.")
def main(check: bool) -> None:
    """Write the pictures that are stale."""
    made = pictures()
    held = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}
    stale = sorted(name for name in made.keys() | held.keys() if made.get(name) != held.get(name))
    if check and stale:
        raise AuditFailed(f"not up to date: {', '.join(stale)}; run: .venv/bin/python -m bench.metric_pictures")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        _put(FOLDER / name, made.get(name))
    click.echo(f"{len(made)} pictures, {len(stale)} written")


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
