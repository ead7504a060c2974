"""Where a request came from, coarser than its address: VPC endpoint, else AWS service, else network. Pure.

An address in a log may also be a DNS name (`athena.amazonaws.com`), `AWS Internal`, or junk. A thief who changes his
address within one network stays one source; private addresses mean nothing without the VPC they belong to, so where
the endpoint is known it stands for them.

Source: AWS CloudTrail user guide, "CloudTrail record contents" (sourceIPAddress); S3 user guide, "Amazon S3 server
access log format" (remote IP).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import numpy as np

from detector.core.access import AccessBatch, Column, intern, present
from detector.core.addresses import LONGEST, ip_of

PRIVATE = [
    ipaddress.ip_network(net)
    for net in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "::1/128",
        "fc00::/7", "fe80::/10",
    )
]  # fmt: skip
"""Networks whose addresses mean something within one VPC, or host, only."""
INTERNAL = "AWS Internal"
NET_BITS = {4: 24, 6: 48}
"""IP version → length of the prefix that is one network."""


def nets(batch: AccessBatch) -> Column:
    """The source network of every row; null where the record has neither endpoint nor address nor service."""
    endpoint, address = batch.text["vpc_endpoint"], batch.text["source_ip"]
    by_address = [*map(_net, address.values)]
    untold = np.array([*(net is None for net in by_address), True])[address.codes] & (endpoint.codes < 0)
    callers = present(batch.who[untold], len(batch.principals))
    by_service = [batch.principals[code].invoked_by for code in callers.tolist()]
    codes, values = intern([*endpoint.values, *(INTERNAL if net is None else net for net in by_address), *by_service])
    of_endpoint, of_address, called = np.split(codes, np.cumsum([len(endpoint.values), len(by_address)]))
    found = np.append(of_address, np.int32(-1))[address.codes]
    found = np.where(endpoint.codes >= 0, np.append(of_endpoint, np.int32(-1))[endpoint.codes], found)
    if len(callers):
        of_service = np.full(len(batch.principals) + 1, -1, np.int32)  # the last is nobody's, whose code is -1
        of_service[callers] = called
        known = of_service[batch.who]
        found = np.where(untold & (known >= 0), known, found)
    return Column(found, values)


def net_of(endpoint: str | None, address: str | None, service: str | None) -> str | None:
    """As `nets`, of one record."""
    return endpoint or (address and _net(address)) or service or (INTERNAL if address else None)


def _net(address: str) -> str | None:
    """The network of an address; None for `AWS Internal`, of which only the caller may say which service it was."""
    if address.startswith(INTERNAL):
        return None
    return net_of_ip(address) if len(address) <= LONGEST else address.lower()


@lru_cache(maxsize=65_536)
def net_of_ip(address: str) -> str:
    """A DNS name and what else is no IP address are networks of their own."""
    plain = ip_of(address)
    if plain is None:
        return address.lower()
    host_bits = plain.max_prefixlen - NET_BITS[plain.version]
    return f"{type(plain)(int(plain) >> host_bits << host_bits)}/{NET_BITS[plain.version]}"


def public(column: Column) -> Column:
    """A column of addresses or networks, with null in place of private ones."""
    private = column.fit(is_private)
    return Column(np.where(private, np.int32(-1), column.codes), column.values)


@lru_cache(maxsize=65_536)
def is_private(text: str) -> bool:
    """Whether this is an address or a network of nobody in particular."""
    try:
        net = ipaddress.ip_network(text) if len(text) <= LONGEST else None
    except ValueError:
        return False
    if isinstance(net, ipaddress.IPv6Network) and (mapped := net.network_address.ipv4_mapped):
        net = ipaddress.ip_network(mapped)
    return any(net.version == one.version and net.subnet_of(one) for one in PRIVATE) if net else False  # type: ignore[arg-type]
