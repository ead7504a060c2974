"""How a request was made, as its signature and user agent tell: pre-signed, in the console, with which tool. Pure.

A user agent is whatever the requester wrote: this is what the log shows, not a proof.

Source: S3 user guide, "Amazon S3 server access log format"; AWS SDKs and Tools reference guide, "User agent".
"""

from __future__ import annotations

from functools import lru_cache

from detector.core.principal import ANONYMOUS

CLIENTS = (
    ("s3console", "console"), ("console.amazonaws.com", "console"),
    ("signin.amazonaws.com", "console"), ("aws-internal", "AWS service"),
    ("mozilla/", "browser"), ("aws-cli/", "AWS CLI"), ("boto3/", "SDK for Python"),
    ("botocore/", "SDK for Python"), ("aws-sdk-", "SDK"), ("s3fs/", "SDK for Python"), ("rclone/", "rclone"),
    ("s5cmd/", "s5cmd"), ("s3cmd/", "s3cmd"), ("curl/", "curl"), ("wget/", "wget"), ("hadoop", "Hadoop"),
    ("python-requests/", "a script"), ("go-http-client/", "a script"), ("java/", "a script"),
)  # fmt: skip
"""What a user agent holds, in lower case → who writes so; the first that is found, in this order."""
OTHER, UNKNOWN = "another client", "client not shown"
PRESIGNED = "pre-signed URL"
LOOKED_AT = 1000


@lru_cache(maxsize=1 << 14)
def how(auth: str | None, user_agent: str | None, principal_type: str | None = None) -> str:
    """A few words, one of a few dozen, whatever the log says. principal_type: tells requests without credentials."""
    client = _client(user_agent)
    if auth == "query":
        return f"{PRESIGNED}, {client}"
    return f"without credentials, {client}" if principal_type == ANONYMOUS else client


def _client(user_agent: str | None) -> str:
    if not user_agent or user_agent == "-":
        return UNKNOWN
    text = user_agent[:LOOKED_AT].lower()
    if text.endswith(".amazonaws.com") and " " not in text and not text.startswith(("console.", "signin.")):
        return "AWS service"
    return next((name for part, name in CLIENTS if part in text), OTHER)
