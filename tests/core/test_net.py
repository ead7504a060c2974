"""Source networks: endpoint before service before address, and nothing in an address stops the count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import Log, Row
from detector.core.builder import BatchBuilder
from detector.core.net import nets
from detector.core.principal import service
from tests.streams import principal


def net(address: str | None, endpoint: str | None = None, invoked_by: str | None = None) -> str | None:
    who = principal("s")._replace(invoked_by=invoked_by)
    return net_of_row(Row(Log.cloudtrail, 1, 1, "p", who=who, source_ip=address, vpc_endpoint=endpoint))


def net_of_row(row: Row) -> str | None:
    builder = BatchBuilder()
    builder.add(row)
    return nets(builder.build()).text(0)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("198.51.100.255", "198.51.100.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:DB8:1:ffff::", "2001:db8:1::/48"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("10.1.2.3", "10.1.2.0/24"),
        ("athena.amazonaws.com", "athena.amazonaws.com"),
        ("Athena.AmazonAWS.com", "athena.amazonaws.com"),
        ("AWS Internal", "AWS Internal"),
        ("AWS Internal/3", "AWS Internal"),
        ("198.51.100.7, 192.0.2.1", "198.51.100.7, 192.0.2.1"),
        ("010.1.2.3", "010.1.2.3"),
        ("3232235777", "3232235777"),
        ("9" * 5000, "9" * 5000),
        (None, None),
    ],
)
def test_an_address_is_its_network_and_what_is_no_address_is_itself(address, found):
    """A /24 or /48; a service's name; junk is a network of its own."""
    assert net(address) == found


def test_an_endpoint_comes_before_everything():
    """Equal private addresses behind two endpoints are two networks, different ones behind one are one."""
    assert net("10.0.0.1", "vpce-1") == net("10.0.9.9", "vpce-1") == "vpce-1"
    assert net("10.0.0.1", "vpce-2") == "vpce-2"
    assert net("athena.amazonaws.com", "vpce-1", "athena.amazonaws.com") == "vpce-1"


def test_a_service_is_told_by_the_address_else_by_the_caller():
    """A person's own address counts even where a service stood between; a service without one is still a source."""
    assert net("AWS Internal", None, "glue.amazonaws.com") == "glue.amazonaws.com"
    assert net(None, None, "glue.amazonaws.com") == "glue.amazonaws.com"
    assert net("198.51.100.7", None, "signin.amazonaws.com") == "198.51.100.0/24"
    logged = Row(Log.server_access, 1, 1, "p", who=service("logging.s3.amazonaws.com", None))
    assert net_of_row(logged) == "logging.s3.amazonaws.com"


@given(st.lists(st.tuples(st.text() | st.none(), st.none() | st.just("vpce-1"), st.none() | st.text(min_size=1))))
def test_rows_together_are_what_they_are_alone(rows):
    """The table of a batch mixes nothing up, whatever the texts."""
    builder = BatchBuilder()
    for address, endpoint, service_ in rows:
        who = principal("s")._replace(invoked_by=service_)
        builder.add(Row(Log.cloudtrail, 1, 1, "p", who=who, source_ip=address, vpc_endpoint=endpoint))
    column = nets(builder.build())
    assert [column.text(at) for at in range(len(rows))] == [net(*row) for row in rows]
