"""The CMCD reader: vectors, mutated records, speed: ``.venv/bin/python -m bench.qoe_cmcd vectors|fuzz|speed``.

`vectors` takes the archive of the common media library's test data (streaming-video-technology-alliance/
common-media-library, libs/cmcd/test/data, Apache-2.0; or the same folder) and reports each vector both ways. `fuzz`
breaks records of every key in every way and holds the kernel against the Python page. `speed` counts records per CPU
second of the kernel, from a message's bytes to the fold's event. The last two need a JDK and nothing else.
"""

from __future__ import annotations

import ast
import base64
import random
import re
import statistics
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from bench import verdict
from conf.errors import InputMissing
from models.playback import cmcd, cmcd_event, cmcd_request
from models.playback.cmcd import Item, Token
from schemas import records
from tests.kernel import jvm

AT = 1_790_000_000_000
HEAD = {"w": 1, "at": AT + 500, "newest": AT, "isp": "DE-1", "country": "DE", "device": Token("tv")}
CHUNK = 50_000
RECORDS_PER_CPU_S = 500_000

# -- what a player may say ---------------------------------------------------------------------------------------------


def full_record(rng: random.Random, sid: str = "s1") -> dict[str, Any]:
    """A valid event record with a random choice of the reserved keys and some of nobody's."""
    made: dict[str, Any] = {}
    for name, key in cmcd.KEYS.items():
        if rng.random() < 0.45:
            made[name] = _value(rng, key)
    made |= {"v": 2, "sid": sid, "sn": rng.randrange(5000), "ts": AT - rng.randrange(10**6)}
    made["e"] = Token(rng.choice(cmcd.EVENTS))
    for name in cmcd_event.CUSTOM:
        if rng.random() < 0.3:
            made[name] = rng.choice((Token("p7"), "1.2 b", 'a"\\b,c', "é中"))
    if rng.random() < 0.5:
        made["com.example-a"] = rng.choice((True, 3, 1.5, Token("x/y"), 'q"u,o\\te'))
    return made


def _value(rng: random.Random, key: cmcd.Key) -> Any:
    whole = rng.choice((0, 1, 7, 300, 5000, 123_456, 10**9, 10**15 - 1))
    text = rng.choice(("", "a", "x" * 64, "é中🎬", 'a,b="c\\"', "t-1"))
    types = (*cmcd.OBJECT_TYPES[:4], None, "o")
    return {
        cmcd.INTEGER: lambda: whole,
        cmcd.SIGNED: lambda: rng.choice((1, -1)) * whole,
        cmcd.DECIMAL: lambda: rng.choice((0, 1, 2.0, 1.25, 0.001, 17.5)),
        cmcd.TOKEN: lambda: Token(rng.choice(key.tokens or ("x",))),
        cmcd.STRING: lambda: text,
        cmcd.BOOLEAN: lambda: rng.random() < 0.7,
        cmcd.INTEGERS: lambda: [_item(rng, rng.choice((0, 320, 5000, 10**7)), types) for _ in range(rng.randrange(4))],
        cmcd.STRINGS: lambda: [_item(rng, text, (None,)) for _ in range(rng.randrange(3))],
    }[key.kind]()


def _item(rng: random.Random, value: int | str, types: tuple[str | None, ...]) -> Item:
    kind = rng.choice(types)
    params: list[tuple[str, cmcd.Bare]] = [] if kind is None else [(kind, True)]
    if rng.random() < 0.15:
        params.append(("r", rng.choice(("0-99", -5, 2.5, False, Token("tok"), 'q"'))))
    return Item(value, tuple(params))


_PIECES = (b",", b"=", b'"', b"\\", b"(", b")", b";", b" ", b"\t", b"\r", b"?", b"?0", b"-", b".", b"0", b"9", b"A",
           b"a", b"\xff", b"\xc3", b"\xe4\xb8\xad", b"\x00", b"\x7f", b",v=3", b",sn=-1", b",sta=x", b",br=(1;v",
           b",e=t", b";v=?0", b";v=?1", b"=?1", b"()", b"1e3", b"00", b"99999999999999999")  # fmt: skip


def mutated(rng: random.Random, line: bytes) -> bytes:
    """The line with one to five things done to it: bits flipped, bytes and pieces put in, taken out, moved."""
    data = bytearray(line)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, kind = rng.randrange(len(data) or 1), rng.randrange(7)
        if kind == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place:place] = rng.choice(_PIECES)
        elif kind == 2:
            del data[place : place + rng.randint(1, 6)]
        elif kind == 3 and data:
            data[place] = rng.choice(_PIECES)[0]
        elif kind == 4:
            del data[place:]
        elif kind == 5:
            stop = place + rng.randint(1, 12)
            data[place:place] = data[place:stop]
        elif kind == 6:
            members = bytes(data).split(b",")
            rng.shuffle(members)
            data = bytearray(b",".join(members))
    return bytes(data).replace(b"\n", b"")


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """Lines: nine of ten mutated, the others as a player would send them."""
    rng = random.Random(seed)
    for _ in range(count):
        line = cmcd.encode(full_record(rng), cmcd_event.EVENT_KEYS).encode()
        yield line if rng.random() < 0.1 else mutated(rng, line)


# -- the kernel against Python -----------------------------------------------------------------------------------------


def packed(lines: list[bytes], per_message: int = 100) -> list[jvm.Message]:
    """Lines of session s1 as messages of topic cmcd."""
    first = cmcd.encode(HEAD, cmcd_event.COLLECTOR_KEYS).encode()
    starts = range(0, len(lines), per_message)
    return [
        jvm.Message(3, n, AT, b"s1", b"\n".join([first, *lines[start : start + per_message]]))
        for n, start in enumerate(starts)
    ]


def differences(messages: list[jvm.Message]) -> tuple[Counter[str], list[str]]:
    """How often each outcome came, and where kernel and Python differ."""
    found = jvm.run(["cmcd"], messages)
    columns = [field.name for field in records.load("playback_event").fields]
    expected: list[list[str | None]] = []
    outcome: Counter[str] = Counter()
    for message in messages:
        done = cmcd_event.decode(message.value or b"", message.key, message.partition, message.offset)
        both: list[tuple[int, list[str | None]]] = []
        for row in done.rows:
            outcome["event"] += 1
            outcome.update(f"dropped {name}" for name in (row["dropped_keys"] or "").split(",") if name)
            place = (row["kafka_partition"], row["kafka_offset"])
            cells = [jvm.text(row[name]) for name in columns]
            both.append((place[1] % cmcd_event.LINES, ["event", *map(_shown, cells), str(place[0]), str(place[1])]))
        for letter in done.letters:
            outcome[f"{letter.error_class}: {re.sub('[0-9]+', 'N', letter.reason)}"] += 1
            payload = base64.b64encode(letter.payload).decode()
            both.append((letter.line, ["letter", str(letter.line), payload, letter.error_class, letter.reason]))
        expected += [cells for _, cells in sorted(both, key=lambda pair: pair[0])]
    if len(found) != len(expected):
        return outcome, [f"{len(found)} lines from the kernel, {len(expected)} from Python"]
    return outcome, [f"{a} != {b}" for a, b in zip(found, expected, strict=True) if a != b]


def _shown(text: str | None) -> str | None:
    return None if text is None else re.sub("[\t\n]", "?", text)


def canonical_differences(lines: list[bytes]) -> list[str]:
    """Where the canonical form of a line (keys, values, unknown keys) differs between the two."""
    found = jvm.run(["canonical"], [jvm.Message(0, 0, 0, None, line) for line in lines])
    wrong = []
    for line, (_, text) in zip(lines, found, strict=True):
        try:
            expected = _shown(cmcd.parse(line, cmcd_event.EVENT_KEYS).encode(cmcd_event.EVENT_KEYS))
        except cmcd.Refused:
            expected = None
        if text != expected:
            wrong.append(f"{line!r}: {text!r} != {expected!r}")
    return wrong


# -- vectors -----------------------------------------------------------------------------------------------------------

_ENUMS = {"CmcdEventType.TIME_INTERVAL": "t", "CmcdStreamingFormat.DASH": "d", "CmcdStreamType.VOD": "v",
          "CmcdPlayerState.PLAYING": "p", "CmcdObjectType.MANIFEST": "m"}  # fmt: skip


def vectors(path: Path) -> dict[str, Any]:
    """The archive's constants by name: texts, and objects as dicts.

    Raises:
        InputMissing: no such file, or the vectors are not in it.
    """
    if not path.exists():
        raise InputMissing(f"{path} does not exist: give the common media library's CMCD test data, archive or folder")
    if not path.is_dir() and not tarfile.is_tarfile(path):
        raise InputMissing(f"{path} is neither a folder nor an archive")
    if path.is_dir():
        texts = {file.stem: file.read_text() for file in path.rglob("CMCD_*.ts")}
    else:
        with tarfile.open(path) as archive:
            members = [m for m in archive.getmembers() if Path(m.name).match("CMCD_*.ts")]
            texts = {Path(m.name).stem: archive.extractfile(m).read().decode() for m in members}  # type: ignore[union-attr]
    if not texts:
        raise InputMissing(f"{path} holds no CMCD_*.ts: give the common media library's CMCD test data")
    return {name: _literal(text) for name, text in texts.items()}


def _literal(text: str) -> Any:
    body = re.sub(r"^import .*$", "", text, flags=re.MULTILINE)
    body = body[re.search(r"export const [^=]*= ", body).end() :].strip().rstrip(";")  # type: ignore[union-attr]
    if body.startswith("`"):
        return None  # CMCD_QUERY, made from another constant
    body = re.sub(r"^\s*//.*$", "", body, flags=re.MULTILINE).replace(" as const", "")
    for name, value in _ENUMS.items():
        body = body.replace(name, repr(value))
    body = re.sub(r"Symbol\(('\w+')\)", r"('token', \1)", body)
    body = re.sub(r"^\s*(?:\[('[^']*')\]|([a-z]+)):", lambda m: f"{m[1] or repr(m[2])}:", body, flags=re.MULTILINE)
    body = re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", body))
    found = ast.literal_eval(body)
    if isinstance(found, dict):
        return {k: Token(v[1]) if isinstance(v, tuple) and v[0] == "token" else v for k, v in found.items()}
    return found


def plain(record: cmcd.Record) -> dict[str, Any]:
    """Values as the library's decoder gives them: no item without parameters, tokens as text."""
    unknown = {name: _bare(raw) for name, raw in record.unknown.items()}
    known = {
        name: [item.value for item in value] if isinstance(value, tuple) else value
        for name, value in record.values.items()
    }
    return {
        name: str(value) if isinstance(value, str) else list(value) if isinstance(value, tuple) else value
        for name, value in (known | unknown).items()
    }


def _bare(raw: str) -> Any:
    return True if raw == "" else cmcd._bare(raw[1:])


def vector_cases(found: dict[str, Any]) -> Iterator[tuple[str, Callable[[], bool]]]:
    """(what is held, the check) of every vector, both ways."""
    given = found["CMCD_INPUT"]
    request, event, response = (found[f"CMCD_STRING_{name}"] for name in ("REQUEST", "EVENT", "RESPONSE"))
    output, output_request = found["CMCD_OUTPUT"], found["CMCD_OUTPUT_REQUEST"]
    as_request = cmcd.as_sent(given, "request")
    headers, v1 = found["CMCD_HEADERS"], found["CMCD_STRING_V1"]
    places = {"hello": "CMCD-Object", "exists": "CMCD-Status", "testing": "CMCD-Session"}
    custom = {f"com.example-{name}": header for name, header in places.items()} | {"cdn": "CMCD-Status"}
    query = cmcd_request.to_query(as_request)
    response_values = {**given, "e": "rr"}
    yield "event: encode", lambda: cmcd.encode(cmcd.as_sent(given, "event")) == event
    yield "event: decode and encode", lambda: cmcd.event_record(event).encode() == event
    yield "event: decode", lambda: plain(cmcd.parse(event)) == {**output_request, "e": "t", "ts": given["ts"]}
    yield "response: encode", lambda: cmcd.encode(cmcd.as_sent(response_values, "event")) == response
    yield "response: decode and encode", lambda: cmcd.event_record(response).encode() == response
    yield "request: encode", lambda: cmcd.encode(as_request) == request
    yield "request: decode", lambda: plain(cmcd.parse(request)) == output_request
    yield "request: decode and encode", lambda: cmcd.parse(request).encode() == request
    yield "query: encode", lambda: query == "CMCD=" + _encode_uri(request)
    yield "query: decode", lambda: plain(cmcd_request.from_query("CMCD=" + _encode_uri(request))) == output_request
    yield "headers: encode", lambda: cmcd_request.to_headers(as_request, custom) == headers
    yield "headers: decode", lambda: plain(cmcd_request.from_headers(headers)) == output
    yield "version 1: encode", lambda: cmcd_request.to_v1(as_request) == v1
    yield "version 1: decode and encode", lambda: cmcd_request.to_v1(_values(cmcd_request.from_v1(v1))) == v1
    for name, line in (("event", event), ("response", response), ("request", request)):
        yield f"{name}: kernel", lambda line=line: not canonical_differences([line.encode()])  # type: ignore[misc]


def _values(record: cmcd.Record) -> dict[str, Any]:
    return {**record.values, **record.unknown}


def _encode_uri(text: str) -> str:
    """JavaScript's encodeURIComponent."""
    from urllib.parse import quote

    return quote(text, safe="!'()*")


# -- commands ----------------------------------------------------------------------------------------------------------


@click.group()
def main() -> None:
    """The CMCD reader: conformance, mutated records, speed."""


@main.command("vectors")
@click.argument("path", type=click.Path(path_type=Path))
def vectors_(path: Path) -> None:
    """Hold every vector of the common media library (archive or folder PATH) both ways."""
    wrong = 0
    for name, holds in vector_cases(vectors(path)):
        good = holds()
        wrong += not good
        click.echo(f"{'ok  ' if good else 'FAIL'} {name}")
    click.echo(f"{wrong} differ")
    verdict.end(verdict.most("vectors that differ", wrong, 0))


@main.command()
@click.option("--records", "count", default=1_000_000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=1, show_default=True)
def fuzz(count: int, seed: int) -> None:
    """Mutated records through the kernel and through Python: no crash, no difference."""
    total: Counter[str] = Counter()
    wrong: list[str] = []
    for start in range(0, count, CHUNK):
        lines = list(mutants(seed * 1_000_003 + start, min(CHUNK, count - start)))
        outcome, different = differences(packed(lines))
        total += outcome
        wrong += different + canonical_differences(lines)
        click.echo(f"{start + len(lines):,} records, {len(wrong)} differences", err=True)
        if wrong:
            break
    for name, number in sorted(total.items(), key=lambda item: (not item[0].startswith("event"), item[0])):
        click.echo(f"{number:>10,}  {name}")
    click.echo("\n".join(wrong[:10]) or "kernel and Python agree on all of them")
    verdict.end(verdict.most("differences", len(wrong), 0))


def typical(count: int, seed: int = 3, per_post: int = 10) -> list[jvm.Message]:
    """Messages of ten records as players send them, some 240 bytes a record."""
    rng = random.Random(seed)
    head = cmcd.encode(HEAD, cmcd_event.COLLECTOR_KEYS).encode()
    found = []
    for n in range(count // per_post):
        sid = f"{rng.getrandbits(128):032x}"
        lines = []
        for i in range(per_post):
            rate = rng.choice((1200, 2500, 5000, 8000))
            lines.append(cmcd.encode({
                "v": 2, "sid": sid, "sn": i, "ts": AT + i * 5000, "e": rng.choice(("t", "t", "ps", "bc", "rr")),
                "sta": rng.choice("sppppra"), "cid": f"title-{n % 500:04d}", "h": f"edge{n % 40}.cdn.example.net",
                "br": [Item(rate, (("v", True),)), Item(128, (("a", True),))],
                "bl": [Item(rng.randrange(300) * 100, (("v", True),))],
                "mtp": [rng.randrange(20, 900) * 100], "pt": i * 5000, "dfa": 0, "bsa": [i // 4], "bsda": [i * 120],
                "sf": "d", "st": "v", "io.matinee-app": "7.1.0",
            }, cmcd_event.EVENT_KEYS).encode())  # fmt: skip
        found.append(jvm.Message(0, n, AT, sid.encode(), b"\n".join([head, *lines])))
    return found


@main.command()
@click.option("--records", "count", default=200_000, show_default=True)
@click.option("--passes", default=12, show_default=True, type=click.IntRange(min=2))
def speed(count: int, passes: int) -> None:
    """Records per CPU second of the kernel (exit 4 below 500,000) and of the Python page."""
    messages = typical(count)
    size = sum(len(m.value or b"") for m in messages) / count
    found = jvm.run(["time", str(passes)], messages, optimise=True)
    rates = [int(str(n)) / (int(str(ns)) / 1e9) for _, n, _, ns, _ in found]
    for number, rate in enumerate(rates, start=1):
        click.echo(f"kernel, pass {number:2d}: {rate:>12,.0f} records per CPU second")
    steady = statistics.median(rates[passes // 2 :])
    click.echo(f"kernel, median of the second half: {steady:,.0f} records per CPU second of {size:.0f} bytes")
    start = time.process_time()
    for message in messages[:500]:
        cmcd_event.decode(message.value or b"", message.key)
    click.echo(f"Python page: {5_000 / (time.process_time() - start):,.0f} records per CPU second")
    verdict.end(verdict.least("records per CPU second", steady, RECORDS_PER_CPU_S))


if __name__ == "__main__":
    main()
