"""Conformance of the Snowplow adapter: ``.venv/bin/python -m bench.qoe_snowplow ARCHIVE``.

ARCHIVE holds Iglu Central's media schemas (snowplow/iglu-central, schemas/com.snowplowanalytics.snowplow.media and
schemas/com.snowplowanalytics.snowplow/media_player, Apache-2.0), packed or as a folder. For each event schema, events
with the least and with every property the schemas allow are made, held against the schemas, and adapted.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import click
import jsonschema

from bench import verdict
from conf.errors import InputMissing
from models.playback import snowplow
from schemas import records
from schemas.validate import Validator

AT = "2026-03-01T20:00:00.000Z"
ENTITIES = {
    "contexts_com_snowplowanalytics_snowplow_media_session_1": (f"{snowplow.VENDOR}/session", "1-0-0"),
    "contexts_com_snowplowanalytics_snowplow_media_player_2": ("com.snowplowanalytics.snowplow/media_player", "2-0-0"),
    "contexts_com_snowplowanalytics_snowplow_media_player_1": ("com.snowplowanalytics.snowplow/media_player", "1-0-0"),
}


def schemas(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Schemas by (vendor/name, version).

    Raises:
        InputMissing: no such archive.
    """
    if not path.exists():
        raise InputMissing(f"{path} does not exist: give Iglu Central's media schemas, archive or folder")
    if path.is_dir():
        texts = {str(file): file.read_text() for file in path.rglob("jsonschema/*") if file.is_file()}
    else:
        with tarfile.open(path) as archive:
            files = [m for m in archive.getmembers() if m.isfile() and "/jsonschema/" in m.name]
            texts = {m.name: archive.extractfile(m).read().decode() for m in files}  # type: ignore[union-attr]
    found = {}
    for text in texts.values():
        schema = json.loads(text)
        told = schema["self"]
        found[f"{told['vendor']}/{told['name']}", told["version"]] = schema
    return found


def instance(schema: dict[str, Any], whole: bool) -> dict[str, Any]:
    """An object of a schema with its required properties, or with all of them at their upper bounds."""
    names = schema["properties"] if whole else schema.get("required", [])
    made = {name: _value(schema["properties"][name], whole) for name in names}
    jsonschema.validate(made, schema, jsonschema.Draft4Validator)
    return made


def _value(rule: dict[str, Any], whole: bool) -> Any:
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    kind = next(kind for kind in kinds if kind != "null")
    if "enum" in rule:
        return rule["enum"][0]
    if rule.get("format") == "date-time":
        return AT
    bound = rule.get("maximum", 1) if whole else rule.get("minimum", 0)
    text = "x" * min(rule.get("maxLength", 1), 40)
    return {"string": text, "boolean": whole, "integer": bound, "number": bound}[kind]


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def main(path: Path) -> None:
    """Hold the adapter against Iglu's media schemas (archive or folder PATH)."""
    found = schemas(path)
    names = sorted(name.partition("/")[2] for name, _ in found if name.startswith(snowplow.VENDOR + "/"))
    events = [name for name in names if name.endswith("_event")]
    wrong = [f"{name}: the adapter does not know it" for name in events if name not in snowplow.EVENTS]
    wrong += [f"{name}: no such schema" for name in snowplow.EVENTS if name not in events]
    validator = Validator(records.load("playback_event"))
    adapted = 0
    for name in events:
        for whole in (False, True):
            for version in (1, 2):
                entities = {
                    key: [instance(found[place], whole)]
                    for key, place in ENTITIES.items()
                    if "player" not in key or key.endswith(str(version))
                }
                said = instance(found[f"{snowplow.VENDOR}/{name}", "1-0-0"], whole)
                event = {"event_name": name, "event_vendor": snowplow.VENDOR, "dvce_created_tstamp": AT,
                         "collector_tstamp": AT, f"unstruct_event_com_snowplowanalytics_snowplow_media_{name}_1": said,
                         **entities}  # fmt: skip
                done = snowplow.adapt([event])
                wrong += [f"{name}: {why}" for _, why in done.refused]
                wrong += [f"{name}: {one.field} {one.rule}" for row in done.rows for one in validator.wrong(row)]
                adapted += len(done.rows)
    click.echo("\n".join(wrong) or f"{len(events)} event schemas, {adapted} events adapted, all valid rows")
    verdict.end(verdict.most("mistakes", len(wrong), 0))


if __name__ == "__main__":
    main()
