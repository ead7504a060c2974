"""Fixtures every test may use."""

from tests.servers import aws, moto_server

__all__ = ["aws", "moto_server"]
