"""The table of operations: classes by API name, and the access log's operations under CloudTrail's names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import Operation
from detector.core.operation import _BUCKET_SETTINGS, _NAMES, _REQUESTS, CLASS, api_of_access_log, classify


@pytest.mark.parametrize(
    ("api", "class_"),
    [
        ("GetObject", Operation.read),
        ("SelectObjectContent", Operation.read),
        ("GetObjectTorrent", Operation.read),
        ("CopyObject", Operation.copy),
        ("UploadPartCopy", Operation.copy),
        ("RestoreObject", Operation.restore),
        ("ListObjects", Operation.list),
        ("ListObjectVersions", Operation.list),
        ("ListParts", Operation.list),
        ("HeadObject", Operation.head),
        ("GetObjectAcl", Operation.head),
        ("PutObject", Operation.write),
        ("POST Object", Operation.write),
        ("DeleteObjects", Operation.delete),
        ("Decrypt", Operation.decrypt),
        ("PutBucketLifecycle", Operation.control),
        ("PutBucketLifecycleConfiguration", Operation.control),
        ("DeleteBucketPolicy", Operation.control),
        ("StopLogging", Operation.control),
        ("PutEventSelectors", Operation.control),
        ("AssumeRoleWithWebIdentity", Operation.assume),
    ],
)
def test_api_names_have_the_class_the_contract_gives_them(api, class_):
    """Rules speak of classes; each class holds the API calls that the contract lists for it."""
    assert classify(api) is class_


@pytest.mark.parametrize(
    "api", ["GetBucketAcl", "GetBucketPolicy", "GetBucketLogging", "DescribeTrails", "Encrypt", ""]
)
def test_reading_settings_and_unknown_names_are_other(api):
    """Looking at a bucket's settings is no change of them, and a name the table lacks is no error."""
    assert classify(api) is Operation.other


def test_every_class_but_other_has_a_name():
    """A class without a single API call could never match: the table leaves none empty."""
    assert set(CLASS.values()) == set(Operation) - {Operation.other}


def test_every_name_stands_under_one_class_only():
    """A name written under two classes would silently have the later one."""
    names = [name for text in _NAMES.values() for name in text.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("operation", "has_key", "api", "class_"),
    [
        ("REST.GET.OBJECT", True, "GetObject", Operation.read),
        ("WEBSITE.GET.OBJECT", True, "GetObject", Operation.read),
        ("SOAP.GetObject", True, "GetObject", Operation.read),
        ("REST.SELECT.OBJECT_CONTENT", True, "SelectObjectContent", Operation.read),
        ("REST.POST.SELECT", True, "SelectObjectContent", Operation.read),
        ("REST.GET.OBJECT_TORRENT", True, "GetObjectTorrent", Operation.read),
        ("REST.HEAD.OBJECT", True, "HeadObject", Operation.head),
        ("REST.GET.BUCKET", False, "ListObjects", Operation.list),
        ("REST.GET.BUCKETVERSIONS", False, "ListObjectVersions", Operation.list),
        ("REST.GET.SERVICE", False, "ListBuckets", Operation.list),
        ("REST.PUT.OBJECT", True, "PutObject", Operation.write),
        ("REST.PUT.PART", True, "UploadPart", Operation.write),
        ("REST.POST.UPLOADS", True, "CreateMultipartUpload", Operation.write),
        ("BATCH.DELETE.OBJECT", True, "DeleteObject", Operation.delete),
        ("REST.POST.MULTI_OBJECT_DELETE", False, "DeleteObjects", Operation.delete),
        ("S3.EXPIRE.OBJECT", True, "S3.EXPIRE.OBJECT", Operation.delete),
        ("REST.POST.RESTORE", True, "RestoreObject", Operation.restore),
        ("REST.GET.ACL", True, "GetObjectAcl", Operation.head),
        ("REST.GET.ACL", False, "GetBucketAcl", Operation.other),
        ("REST.PUT.ACL", True, "PutObjectAcl", Operation.control),
        ("REST.PUT.ACL", False, "PutBucketAcl", Operation.control),
        ("REST.GET.OBJECT_TAGGING", True, "GetObjectTagging", Operation.head),
        ("REST.PUT.OBJECT_TAGGING", True, "PutObjectTagging", Operation.write),
        ("REST.PUT.BUCKETPOLICY", False, "PutBucketPolicy", Operation.control),
        ("REST.DELETE.LIFECYCLE", False, "DeleteBucketLifecycle", Operation.control),
        ("REST.PUT.LOGGING_STATUS", False, "PutBucketLogging", Operation.control),
        ("REST.GET.LOGGING_STATUS", False, "GetBucketLogging", Operation.other),
        ("REST.DELETE.PUBLIC_ACCESS_BLOCK", False, "DeleteBucketPublicAccessBlock", Operation.control),
        ("S3.TRANSITION_GIR.OBJECT", True, "S3.TRANSITION_GIR.OBJECT", Operation.other),
        ("S3.CREATE.DELETEMARKER", True, "S3.CREATE.DELETEMARKER", Operation.other),
        ("REST.OPTIONS.PREFLIGHT", True, "REST.OPTIONS.PREFLIGHT", Operation.other),
    ],
)
def test_access_log_operations_have_cloudtrails_name(operation, has_key, api, class_):
    """One rule reads both logs, because a line of an access log bears the name CloudTrail would have given it."""
    assert api_of_access_log(operation, has_key) == (api, class_)


@pytest.mark.parametrize(
    ("source", "destination", "copy", "write"),
    [
        ("REST.COPY.OBJECT_GET", "REST.COPY.OBJECT", "CopyObject", "PutObject"),
        ("REST.COPY.PART_GET", "REST.COPY.PART", "UploadPartCopy", "UploadPart"),
    ],
)
def test_a_copy_counts_once_as_a_read_of_its_source(source, destination, copy, write):
    """A copy is two lines, one in each bucket's log. The source's is the copy, the destination's a write."""
    assert api_of_access_log(source, True) == (copy, Operation.copy)
    assert api_of_access_log(destination, True) == (write, Operation.write)


def test_every_mapped_request_leads_to_a_classified_name():
    """A typing error in the map would turn a class into `other` without a sound; only reading a setting is `other`."""
    others = {op: api for op, api in _REQUESTS.items() if classify(api) is Operation.other}
    assert all(api.startswith("GetBucket") for api in others.values())


def test_every_change_of_a_bucket_setting_is_control():
    """Every PUT of a setting that the access log can name is `control`, but of the two that AWS offers no PUT for."""
    changes = {setting: api_of_access_log(f"REST.PUT.{setting}", has_key=False)[1] for setting in _BUCKET_SETTINGS}
    assert {setting for setting, class_ in changes.items() if class_ is not Operation.control} == {
        "LOCATION",
        "POLICY_STATUS",
    }


@given(st.text(), st.booleans())
def test_an_unknown_operation_keeps_its_spelling(operation, has_key):
    """Nothing is lost to the table's ignorance: what it does not know is counted under its own name."""
    api, class_ = api_of_access_log(operation, has_key)
    assert class_ is classify(api)
    assert api == operation or class_ is not Operation.other or api.startswith(("Get", "Put", "Delete"))
