"""DuckDB's read_csv over server access logs: fields are cut at spaces, quotes are trusted."""

from __future__ import annotations

from bench.peers.duckdb import main

NAMES = (
    "owner", "bucket", "time", "zone", "address", "requester", "request_id", "operation", "key", "request", "status",
    "error", "bytes", "size", "total", "turn_around", "referer", "agent", "version", "host_id", "signature", "cipher",
    "auth", "host", "tls", "access_point", "acl", "region",
)  # fmt: skip
COLUMNS = ", ".join(f"'{name}': 'VARCHAR'" for name in NAMES)
LINES = f"""
  select concat_ws(' ', request_id, operation, bucket, key) as id, requester as principal,
    cast(epoch(strptime(time, '[%d/%b/%Y:%H:%M:%S')) as bigint) as second
  from read_csv($files, delim = ' ', quote = '"', escape = '"', header = false, auto_detect = false,
    null_padding = true, columns = {{{COLUMNS}}})
  where operation = 'REST.GET.OBJECT' and status like '2%'
"""

if __name__ == "__main__":
    main(LINES, "*")
