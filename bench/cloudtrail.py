"""CloudTrail records of S3 GetObject as text: about 2,030 bytes each, filled into templates. Pure.

Shape: CloudTrail user guide, "CloudTrail record contents". All names are invented.
"""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache

import numpy as np
from isal import isal_zlib

from bench.traffic import I64, Requests, noise

ACCOUNT, BUCKET, REGION = "111122223333", "ml-voice-datasets", "us-east-1"
HOST = f"{BUCKET}.s3.{REGION}.amazonaws.com"
ALPHABET = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
AGENT = "Boto3/1.40.21 md/Botocore#1.40.21 ua/2.1 os/linux#6.8.0-1029-aws md/arch#x86_64 lang/python#3.12.11"
LEVEL = 2
"""About 9:1, as CloudTrail's own files."""
NEXT_SESSIONS = 1 << 20
"""A principal's number and that of his role's next session lie so far apart."""


def role(who: int) -> str:
    """Several sessions share a role."""
    return f"ml-training-worker-{_role_number(who):05}"


def _role_number(who: int) -> int:
    return who % NEXT_SESSIONS // 8


def session(who: int) -> str:
    """The session's ARN: what the question asks for."""
    return f"arn:aws:sts::{ACCOUNT}:assumed-role/{role(who)}/i-{who:017x}"


def document(asked: Requests, rows: I64) -> bytes:
    """The file that holds these rows, gzipped."""
    text = '{"Records":[' + ",".join(records(asked, rows)) + "]}"
    return isal_zlib.compress(text.encode(), LEVEL, 31)


def records(asked: Requests, rows: I64) -> list[str]:
    """One record a row, as JSON."""
    numbers = asked.number[rows]
    ids = noise(numbers, 12, salt=0)
    host_ids = b64encode(np.ascontiguousarray(ids[:, :57]).tobytes()).decode()
    request_ids = ALPHABET[ids[:, 57:73] % 32].tobytes().decode()
    event_ids = np.ascontiguousarray(ids[:, 73:89]).tobytes().hex()
    sizes = (40_000 + ids[:, 89:91].copy().view(np.uint16)[:, 0].astype(np.int64) * 9).tolist()
    stamps = np.datetime_as_string(asked.time[rows].astype("datetime64[s]")).tolist()
    everyone = asked.principal[rows].tolist()
    keys = object_keys(numbers)
    return [
        _record(who, at, key, size, host_ids[76 * i : 76 * i + 76], request_ids[16 * i : 16 * i + 16],
                event_ids[32 * i : 32 * i + 32])
        for i, (who, at, key, size) in enumerate(zip(everyone, stamps, keys, sizes, strict=True))
    ]  # fmt: skip


def object_keys(numbers: I64) -> list[str]:
    """A key for every number, no two alike."""
    text = noise(numbers, 3, salt=1 << 41).tobytes().hex()
    return [f"raw/voice-2026/{text[i : i + 32]}/{text[i + 32 : i + 48]}.flac" for i in range(0, len(text), 48)]


def _record(who: int, at: str, key: str, size: int, host_id: str, request_id: str, event_id: str) -> str:
    return (
        f'{{"eventVersion":"1.11",{_identity(who, _issued(at))}"eventTime":"{at}Z","eventSource":"s3.amazonaws.com",'
        f'"eventName":"GetObject","awsRegion":"{REGION}",{_client(who)}'
        f'"requestParameters":{{"bucketName":"{BUCKET}","Host":"{HOST}","key":"{key}","x-id":"GetObject"}},'
        '"responseElements":null,"additionalEventData":{"SignatureVersion":"SigV4",'
        '"CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"SSEApplied":"Default_SSE_S3",'
        f'"AuthenticationMethod":"AuthHeader","x-amz-id-2":"{host_id}","bytesTransferredOut":{size}}},'
        f'"requestID":"{request_id}","eventID":"{event_id[:8]}-{event_id[8:12]}-{event_id[12:16]}-{event_id[16:20]}-'
        f'{event_id[20:]}","readOnly":true,"resources":[{{"type":"AWS::S3::Object",'
        f'"ARN":"arn:aws:s3:::{BUCKET}/{key}"}},{{"accountId":"{ACCOUNT}","type":"AWS::S3::Bucket",'
        f'"ARN":"arn:aws:s3:::{BUCKET}"}}],"eventType":"AwsApiCall","managementEvent":false,'
        f'"recipientAccountId":"{ACCOUNT}","vpcEndpointId":"vpce-0a1b2c3d4e5f60718",'
        '"eventCategory":"Data","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256",'
        f'"clientProvidedHostHeader":"{HOST}"}}}}'
    )


def _issued(at: str) -> str:
    """When the credentials in use at a time were issued: an instance renews its own every six hours."""
    return f"{at[:11]}{int(at[11:13]) // 6 * 6:02}:00:00Z"


@lru_cache(maxsize=8192)
def _identity(who: int, issued: str) -> str:
    role_id = f"AROA{_letters(_role_number(who) + 1_000_000, 17)}"
    return (
        f'"userIdentity":{{"type":"AssumedRole","principalId":"{role_id}:i-{who:017x}","arn":"{session(who)}",'
        f'"accountId":"{ACCOUNT}","accessKeyId":"ASIA{_letters(who + 9_000_000, 16)}","sessionContext":{{'
        f'"sessionIssuer":{{"type":"Role","principalId":"{role_id}","arn":"arn:aws:iam::{ACCOUNT}:role/ml/{role(who)}",'
        f'"accountId":"{ACCOUNT}","userName":"{role(who)}"}},"attributes":{{"creationDate":"{issued}",'
        '"mfaAuthenticated":"false"},"ec2RoleDelivery":"2.0"}},'
    )


@lru_cache(maxsize=8192)
def _client(who: int) -> str:
    return f'"sourceIPAddress":"{address(who)}","userAgent":"[{AGENT}]",'


def address(who: int) -> str:
    """Where a session calls from."""
    return f"10.{who >> 16 & 255}.{who >> 8 & 255}.{who & 255}"


def _letters(number: int, length: int) -> str:
    """An id in AWS's alphabet, A-Z and 2-7."""
    number = number * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835 % (1 << 5 * length)
    return "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[number >> 5 * i & 31] for i in range(length))
