"""The one table of operations: what an API call is about, and which API call a line of an access log is. Pure.

Rules of this file
- `CLASS` speaks CloudTrail's spelling, both spellings where AWS has had two. A name it lacks is `other`, no error.
- The access log's own operations are mapped onto CloudTrail's names, so that one rule reads both logs.
- A copy is one read, of its source. The source's log says so (`REST.COPY.OBJECT_GET`); the line in the destination's
  log (`REST.COPY.OBJECT`) is the write of the destination, under PutObject, so that no copy is counted twice.
- Reading a bucket's settings is `other`; changing them is `control`. Reading an object's settings is `head`.

Sources: S3 user guide, "CloudTrail events" (names of bucket and object level API calls), "Amazon S3 server access log
format" (operation, `REST.HTTP_method.resource_type`, copy operations, lifecycle operations).
"""

from __future__ import annotations

from functools import lru_cache

from detector.core.access import Operation

_NAMES: dict[Operation, str] = {
    Operation.read: "GetObject SelectObjectContent GetObjectTorrent",
    Operation.copy: "CopyObject UploadPartCopy",
    Operation.restore: "RestoreObject",
    Operation.list: """
        ListObjects ListObjectsV2 ListObjectVersions ListVersions ListBuckets ListAllMyBuckets ListDirectoryBuckets
        ListMultipartUploads ListParts
    """,
    Operation.head: """
        HeadObject HeadBucket GetObjectAttributes GetObjectVersionAttributes GetObjectTagging GetObjectVersionTagging
        GetObjectAcl GetObjectVersionAcl GetObjectRetention GetObjectLegalHold GetObjectLockRetention
        GetObjectLockLegalHold
    """,
    Operation.write: """
        PutObject PostObject CreateMultipartUpload InitiateMultipartUpload UploadPart CompleteMultipartUpload
        AbortMultipartUpload PutObjectTagging PutObjectVersionTagging DeleteObjectTagging DeleteObjectVersionTagging
        RenameObject CreateBucket
    """,
    Operation.delete: "DeleteObject DeleteObjects DeleteObjectVersion DeleteBucket S3.EXPIRE.OBJECT",
    Operation.decrypt: "Decrypt",
    Operation.control: """
        PutBucketPolicy DeleteBucketPolicy PutBucketAcl PutObjectAcl PutObjectVersionAcl
        PutBucketEncryption DeleteBucketEncryption
        PutBucketLifecycle PutBucketLifecycleConfiguration DeleteBucketLifecycle DeleteBucketLifecycleConfiguration
        PutBucketLogging DeleteBucketLogging PutBucketVersioning
        CreateJob UpdateJobPriority UpdateJobStatus
        PutBucketReplication PutBucketReplicationConfiguration DeleteBucketReplication
        PutBucketPublicAccessBlock DeleteBucketPublicAccessBlock PutPublicAccessBlock DeletePublicAccessBlock
        PutAccountPublicAccessBlock DeleteAccountPublicAccessBlock
        PutBucketObjectLockConfiguration PutObjectLockConfiguration PutObjectRetention PutObjectLegalHold
        PutObjectLockRetention PutObjectLockLegalHold
        PutBucketNotification PutBucketNotificationConfiguration
        PutBucketOwnershipControls DeleteBucketOwnershipControls
        PutBucketCors DeleteBucketCors PutBucketWebsite DeleteBucketWebsite PutBucketTagging DeleteBucketTagging
        PutBucketRequestPayment PutAccelerateConfiguration PutBucketAccelerateConfiguration
        PutBucketAnalyticsConfiguration DeleteBucketAnalyticsConfiguration
        PutBucketInventoryConfiguration DeleteBucketInventoryConfiguration
        PutBucketMetricsConfiguration DeleteBucketMetricsConfiguration
        PutBucketIntelligentTieringConfiguration DeleteBucketIntelligentTieringConfiguration
        CreateAccessPoint DeleteAccessPoint PutAccessPointPolicy DeleteAccessPointPolicy
        PutAccessPointPublicAccessBlock DeleteAccessPointPublicAccessBlock
        CreateAccessPointForObjectLambda DeleteAccessPointForObjectLambda PutAccessPointPolicyForObjectLambda
        DeleteAccessPointPolicyForObjectLambda PutAccessPointConfigurationForObjectLambda
        CreateMultiRegionAccessPoint DeleteMultiRegionAccessPoint PutMultiRegionAccessPointPolicy
        SubmitMultiRegionAccessPointRoutes
        CreateTrail UpdateTrail DeleteTrail StartLogging StopLogging PutEventSelectors PutInsightSelectors
        PutEventConfiguration UpdateEventDataStore DeleteEventDataStore StopEventDataStoreIngestion
    """,
    Operation.assume: "AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity AssumeRoot",
}

CLASS: dict[str, Operation] = {api: class_ for class_, names in _NAMES.items() for api in names.split()}
"""CloudTrail's API name → class. A browser's form upload is the one name with a space in it."""
CLASS |= dict.fromkeys(("POST Object", "POST object"), Operation.write)

_REQUESTS: dict[str, str] = {
    "REST.GET.OBJECT": "GetObject",
    "WEBSITE.GET.OBJECT": "GetObject",
    "REST.GET.OBJECT_TORRENT": "GetObjectTorrent",
    "REST.GET.TORRENT": "GetObjectTorrent",
    "REST.COPY.OBJECT_GET": "CopyObject",
    "REST.COPY.PART_GET": "UploadPartCopy",
    "REST.COPY.OBJECT": "PutObject",
    "REST.COPY.PART": "UploadPart",
    "REST.POST.RESTORE": "RestoreObject",
    "REST.GET.BUCKET": "ListObjects",
    "REST.GET.BUCKETVERSIONS": "ListObjectVersions",
    "REST.GET.SERVICE": "ListBuckets",
    "REST.GET.UPLOADS": "ListMultipartUploads",
    "REST.GET.UPLOAD": "ListParts",
    "REST.HEAD.OBJECT": "HeadObject",
    "WEBSITE.HEAD.OBJECT": "HeadObject",
    "REST.HEAD.BUCKET": "HeadBucket",
    "REST.GET.OBJECT_ATTRIBUTES": "GetObjectAttributes",
    "REST.PUT.OBJECT": "PutObject",
    "REST.POST.OBJECT": "PostObject",
    "REST.PUT.PART": "UploadPart",
    "REST.POST.UPLOADS": "CreateMultipartUpload",
    "REST.POST.UPLOAD": "CompleteMultipartUpload",
    "REST.DELETE.UPLOAD": "AbortMultipartUpload",
    "REST.PUT.BUCKET": "CreateBucket",
    "REST.DELETE.OBJECT": "DeleteObject",
    "BATCH.DELETE.OBJECT": "DeleteObject",
    "REST.POST.MULTI_OBJECT_DELETE": "DeleteObjects",
    "REST.DELETE.BUCKET": "DeleteBucket",
    "SOAP.GetObject": "GetObject",
    "SOAP.GetObjectExtended": "GetObject",
    "SOAP.CopyObject": "CopyObject",
    "SOAP.PutObject": "PutObject",
    "SOAP.PutObjectInline": "PutObject",
    "SOAP.DeleteObject": "DeleteObject",
    "SOAP.ListBucket": "ListObjects",
    "SOAP.ListAllMyBuckets": "ListBuckets",
    "SOAP.CreateBucket": "CreateBucket",
    "SOAP.DeleteBucket": "DeleteBucket",
    "SOAP.GetObjectAccessControlPolicy": "GetObjectAcl",
    "SOAP.GetBucketAccessControlPolicy": "GetBucketAcl",
    "SOAP.SetObjectAccessControlPolicy": "PutObjectAcl",
    "SOAP.SetBucketAccessControlPolicy": "PutBucketAcl",
    "SOAP.GetBucketLoggingStatus": "GetBucketLogging",
    "SOAP.SetBucketLoggingStatus": "PutBucketLogging",
}

_BUCKET_SETTINGS: dict[str, str] = {
    "ACCELERATE": "AccelerateConfiguration",
    "ACL": "BucketAcl",
    "ANALYTICS": "BucketAnalyticsConfiguration",
    "BUCKETPOLICY": "BucketPolicy",
    "BUCKET_TAGGING": "BucketTagging",
    "CORS": "BucketCors",
    "ENCRYPTION": "BucketEncryption",
    "INTELLIGENT_TIERING": "BucketIntelligentTieringConfiguration",
    "INVENTORY": "BucketInventoryConfiguration",
    "LIFECYCLE": "BucketLifecycle",
    "LOCATION": "BucketLocation",
    "LOGGING_STATUS": "BucketLogging",
    "METRICS": "BucketMetricsConfiguration",
    "NOTIFICATION": "BucketNotification",
    "OBJECT_LOCK": "BucketObjectLockConfiguration",
    "OBJECT_LOCK_CONFIGURATION": "BucketObjectLockConfiguration",
    "OWNERSHIP_CONTROLS": "BucketOwnershipControls",
    "POLICY": "BucketPolicy",
    "POLICY_STATUS": "BucketPolicyStatus",
    "PUBLIC_ACCESS_BLOCK": "BucketPublicAccessBlock",
    "REPLICATION": "BucketReplication",
    "REQUEST_PAYMENT": "BucketRequestPayment",
    "TAGGING": "BucketTagging",
    "VERSIONING": "BucketVersioning",
    "WEBSITE": "BucketWebsite",
}

_OBJECT_SETTINGS: dict[str, str] = {
    "ACL": "ObjectAcl",
    "LEGAL_HOLD": "ObjectLegalHold",
    "OBJECT_LEGAL_HOLD": "ObjectLegalHold",
    "OBJECT_RETENTION": "ObjectRetention",
    "OBJECT_TAGGING": "ObjectTagging",
    "RETENTION": "ObjectRetention",
    "TAGGING": "ObjectTagging",
}

_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}


API_NAMES: frozenset[str] = frozenset(
    {*CLASS, *_REQUESTS.values()}
    | {verb + name for verb in _VERBS.values() for name in (*_BUCKET_SETTINGS.values(), *_OBJECT_SETTINGS.values())}
)
"""Names of S3's calls that are known here; there are others."""


def classify(api: str) -> Operation:
    """The class of a CloudTrail API name."""
    return CLASS.get(api, Operation.other)


@lru_cache(maxsize=1024)
def api_of_access_log(operation: str, has_key: bool) -> tuple[str, Operation]:
    """CloudTrail's name and the class of an access log's operation; an unknown one keeps its spelling and is `other`.

    has_key: the line names an object; `REST.GET.ACL` is GetObjectAcl with a key and GetBucketAcl without.
    """
    api = _REQUESTS.get(operation) or _setting(operation, has_key) or operation
    if "SELECT" in operation:  # AWS documents no exact spelling
        api = "SelectObjectContent"
    return api, classify(api)


def _setting(operation: str, has_key: bool) -> str | None:
    protocol, _, rest = operation.partition(".")
    method, _, resource = rest.partition(".")
    if protocol != "REST" or method not in _VERBS:
        return None
    name = (_OBJECT_SETTINGS.get(resource) if has_key else None) or _BUCKET_SETTINGS.get(resource)
    return _VERBS[method] + name if name else None
