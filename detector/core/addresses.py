"""Networks and lists of them: is an address in any? Pure.

A list is a text file that people, or a feed, keep: an address or a network (`203.0.113.0/24`) a line; what follows a
space, `,`, `;` or `#` is a remark. Every line that is neither is told with its place.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from detector.errors import Problem

MOST_TEXT = 64 << 20
MOST_PROBLEMS = 20
LONGEST = 64
"""Characters of an address or network at most."""
_REMARK = re.compile(r"[\s,;#]")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=65_536)
def ip_of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, IPv4 if it is IPv4 written as IPv6; None for what is none, such as a service's name."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip


def network(text: str) -> Network:
    """An address or a network; bits beyond its length do not count. Raises ValueError."""
    if len(text) > LONGEST:
        msg = f"expected an address or a network, got {len(text)} characters"
        raise ValueError(msg)
    return ipaddress.ip_network(text, strict=False)


class Networks:
    """Networks as ranges that do not overlap, so that an address is looked up and not compared with each."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._ranges: dict[int, tuple[list[int], list[int]]] = {}
        ranges = [(n.version, int(n.network_address), int(n.broadcast_address)) for n in networks]
        for version, first, last in sorted(ranges):
            firsts, lasts = self._ranges.setdefault(version, ([], []))
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)

    def __contains__(self, address: str) -> bool:
        ip = ip_of(address) if self._ranges and len(address) <= LONGEST else None
        if ip is None or ip.version not in self._ranges:
            return False
        firsts, lasts = self._ranges[ip.version]
        number = int(ip)
        at = bisect_right(firsts, number) - 1
        return at >= 0 and number <= lasts[at]


@dataclass(frozen=True, slots=True)
class AddressLists:
    """The lists a rule names, and what stands in them. Two are the same if their names and their texts are."""

    names: tuple[str, ...]
    digest: str
    networks: Networks = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AddressList:
    """One list that was read."""

    digest: str
    networks: tuple[Network, ...]


def read_list(name: str, text: str, problems: list[Problem]) -> AddressList:
    """The networks of a list; lines that are none become problems, the first of them."""
    found, wrong = [], 0
    if len(text) > MOST_TEXT:
        problems.append(Problem(name, 1, 1, f"expected at most {MOST_TEXT:,} characters, got {len(text):,}"))
        text = ""
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        word = _REMARK.split(line.strip(), maxsplit=1)[0]
        if word:
            try:
                found.append(network(word))
            except ValueError:
                wrong += 1
                if wrong <= MOST_PROBLEMS:
                    told = f"expected an address or a network such as 203.0.113.0/24, got {ascii(word)[:60]}"
                    problems.append(Problem(name, number, 1, told))
    if wrong > MOST_PROBLEMS:
        problems.append(Problem(name, 1, 1, f"{wrong - MOST_PROBLEMS:,} more lines are neither address nor network"))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return AddressList(digest, tuple(found))


def joined(lists: dict[str, AddressList]) -> AddressLists:
    """Several lists as one."""
    digest = hashlib.sha256("\0".join(one.digest for one in lists.values()).encode()).hexdigest()[:16]
    return AddressLists(tuple(lists), digest, Networks(net for one in lists.values() for net in one.networks))
