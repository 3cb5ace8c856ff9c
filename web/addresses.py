"""From a viewer's address to provider, country; the address itself goes no further.

The table is a CSV file with the columns ``network,isp,country`` (CIDR, IPv4 or IPv6); where networks lie in each other
the smaller one counts. Without a table, and for an address in none, both are unknown.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from conf.errors import ConfigError

UNKNOWN = ("unknown", "ZZ")
_COLUMNS = ["network", "isp", "country"]


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
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
        except OSError as error:
            raise ConfigError(f"collector.addresses = {path} cannot be read: {error}") from None
        if not rows or rows[0] != _COLUMNS:
            raise ConfigError(f"{path}: the first line must be {','.join(_COLUMNS)}")
        networks: dict[int, list[tuple[int, int, tuple[str, str]]]] = {}
        for number, row in enumerate(rows[1:], start=2):
            try:
                text, isp, country = row
                network = ip_network(text)
            except ValueError as error:
                raise ConfigError(f"{path}, line {number}: {error}; it must be {','.join(_COLUMNS)}") from None
            if not isp or len(isp) > 64 or len(country) != 2:
                raise ConfigError(f"{path}, line {number}: isp has 1 to 64 characters, country 2 (ISO 3166-1)")
            first = int(network.network_address)
            place = (isp, country)
            networks.setdefault(network.version, []).append((first, first + network.num_addresses, place))
        table = cls()
        for version, found in networks.items():
            table.starts[version], table.places[version] = _line(found)
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
