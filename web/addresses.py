"""From a viewer's address to provider, country; the address itself goes no further.

The table is a CSV file with the columns ``network,isp,country`` (CIDR, IPv4 or IPv6), each network once; where networks
lie in each other the smaller one counts. Without a table, and for an address in none, both are unknown.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from conf.errors import ConfigError

UNKNOWN = ("unknown", "ZZ")
_COLUMNS = ["network", "isp", "country"]
_COUNTRY = re.compile(r"[A-Z]{2}")
_FOR = re.compile(r'(?:^|;) *for="?([^";]*)', re.IGNORECASE)


@dataclass
class Addresses:
    """Provider and country by address; `starts` and `places` are pieces of the address line, by IP version."""

    starts: dict[int, list[int]] = field(default_factory=dict)
    places: dict[int, list[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Addresses:
        """The table of a file, an empty one without.

        Raises:
            ConfigError: the file is not there or a line is not as it should be.
        """
        if path is None:
            return cls()
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark in front
                rows = list(csv.reader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"collector.addresses = {path} cannot be read: {error}") from None
        if not rows or rows[0] != _COLUMNS:
            raise ConfigError(f"{path}: the first line must be {','.join(_COLUMNS)}")
        networks: dict[int, dict[tuple[int, int], tuple[str, str]]] = {}
        for number, row in enumerate(rows[1:], start=2):
            try:
                text, isp, country = row
                network = ip_network(text)
            except ValueError as error:
                raise ConfigError(f"{path}, line {number}: {error}; it must be {','.join(_COLUMNS)}") from None
            if not 0 < len(isp) <= 64 or not isp.isprintable():
                raise ConfigError(f"{path}, line {number}: isp {isp!r}: it has 1 to 64 characters, all printable")
            if not _COUNTRY.fullmatch(country):
                raise ConfigError(f"{path}, line {number}: country {country!r}: two capitals (ISO 3166-1)")
            first = int(network.network_address)
            piece = (first, first + network.num_addresses)
            if piece in networks.setdefault(network.version, {}):
                raise ConfigError(f"{path}, line {number}: {network} stands in the table twice")
            networks[network.version][piece] = (isp, country)
        table = cls()
        for version, found in networks.items():
            table.starts[version], table.places[version] = _line([(*piece, place) for piece, place in found.items()])
        return table

    def place(self, address: str) -> tuple[str, str]:
        """Provider and country."""
        try:
            found: IPv4Address | IPv6Address = ip_address(address)
        except ValueError:
            return UNKNOWN
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        starts = self.starts.get(found.version)
        if starts is None:
            return UNKNOWN
        at = bisect_right(starts, int(found)) - 1
        return UNKNOWN if at < 0 else self.places[found.version][at]


def bare(told: str) -> str:
    """The address of what a proxy tells of its peer: also with a port, in brackets, or as `Forwarded` has it (RFC 7239:
    ``for="[2001:db8::1]:4711";proto=https``)."""
    found = _FOR.search(told)
    text = (told if found is None else found[1]).strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _line(networks: list[tuple[int, int, tuple[str, str]]]) -> tuple[list[int], list[tuple[str, str]]]:
    """Networks, nested or apart, as pieces one after the other: where each begins and its place."""
    starts: list[int] = []
    places: list[tuple[str, str]] = []

    def begin(at: int, place: tuple[str, str]) -> None:
        if starts and starts[-1] == at:
            places[-1] = place
        else:
            starts.append(at)
            places.append(place)

    open_: list[tuple[int, tuple[str, str]]] = []
    for first, end, place in sorted(networks, key=lambda n: (n[0], -n[1])):
        while open_ and open_[-1][0] <= first:
            begin(open_.pop()[0], open_[-1][1] if open_ else UNKNOWN)
        begin(first, place)
        open_.append((end, place))
    while open_:
        begin(open_.pop()[0], open_[-1][1] if open_ else UNKNOWN)
    return starts, places
