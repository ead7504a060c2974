"""Which reads event selectors let into the log: selectors as GetEventSelectors answers them."""

import pytest

from detector.doctor.selectors import OTHER_WAYS, Selectors
from tests.deploy.templates import resources

VOICE = "arn:aws:s3:::ml-voice/"


def classic(*values, reads="All", management=True, kind="AWS::S3::Object"):
    data = [{"Type": kind, "Values": list(values)}] if values else []
    return {"ReadWriteType": reads, "IncludeManagementEvents": management, "DataResources": data}


def advanced(category="Data", kind="AWS::S3::Object", **fields):
    asked = [{"Field": "eventCategory", "Equals": [category]}]
    asked += [{"Field": "resources.type", "Equals": [kind]}] if category == "Data" else []
    asked += [{"Field": name.replace("__", "."), **how} for name, how in fields.items()]
    return {"FieldSelectors": asked}


def arn(**how):
    return advanced(resources__ARN={name: list(values) for name, values in how.items()})


CLASSIC = [
    ([classic("arn:aws:s3")], "all"),
    ([classic("arn:aws:s3:::")], "all"),
    ([classic(VOICE)], "all"),
    ([classic(VOICE, reads="ReadOnly")], "part"),
    ([classic(VOICE, reads="WriteOnly")], "none"),
    ([classic(VOICE + "raw/")], "part"),
    ([classic("arn:aws:s3:::ml-voice-2/")], "none"),
    ([classic()], "none"),
    ([classic("arn:aws:lambda", kind="AWS::Lambda::Function")], "none"),
    ([classic("arn:aws:s3:::other/"), classic(VOICE)], "all"),
]

ADVANCED = [
    ([advanced()], "all"),
    ([arn(StartsWith=[VOICE])], "all"),
    ([arn(StartsWith=["arn:aws:s3:::ml-"])], "all"),
    ([arn(StartsWith=["arn:aws:s3:::other/", VOICE])], "all"),
    ([arn(StartsWith=["arn:aws:s3:::other/"])], "none"),
    ([arn(StartsWith=[VOICE + "raw/"])], "part"),
    ([arn(Equals=[VOICE + "one.wav"])], "part"),
    ([arn(EndsWith=[".wav"])], "part"),
    ([arn(NotStartsWith=[VOICE])], "none"),
    ([arn(NotStartsWith=["arn:aws:s3:::trail-logs/"])], "all"),
    ([arn(NotStartsWith=[VOICE + "tmp/"])], "part"),
    ([arn(NotEndsWith=[".tmp"])], "part"),
    ([arn(StartsWith=["arn:aws:s3:::ml-"], NotStartsWith=[VOICE])], "none"),
    ([advanced(readOnly={"Equals": ["true"]})], "part"),
    ([advanced(readOnly={"Equals": ["false"]})], "none"),
    ([advanced(eventName={"Equals": ["PutObject", "DeleteObject"]})], "none"),
    ([advanced(eventName={"Equals": ["GetObject"]})], "part"),
    ([advanced(eventName={"NotEquals": ["HeadObject"]})], "all"),
    ([advanced(eventName={"StartsWith": ["Get", "Copy"]})], "all"),
    ([advanced(eventName={"NotStartsWith": ["Get"]})], "none"),
    ([advanced(userIdentity__arn={"NotStartsWith": ["arn:aws:sts::111122223333:assumed-role/etl"]})], "part"),
    ([advanced("Management")], "none"),
    ([advanced(kind="AWS::S3::AccessPoint")], "none"),
    ([arn(StartsWith=[VOICE + "raw/"]), arn(StartsWith=[VOICE])], "all"),
]


@pytest.mark.parametrize(("selectors", "extent"), CLASSIC)
def test_classic_selectors_name_objects_by_their_beginning(selectors, extent):
    assert Selectors.of({"EventSelectors": selectors}).reads_of("ml-voice") == extent


@pytest.mark.parametrize(("selectors", "extent"), ADVANCED)
def test_of_advanced_selectors_every_field_has_to_hold(selectors, extent):
    assert Selectors.of({"AdvancedEventSelectors": selectors}).reads_of("ml-voice") == extent


def test_partitions_are_told_apart():
    china = Selectors.of({"AdvancedEventSelectors": [arn(StartsWith=["arn:aws-cn:s3:::ml-voice/"])]})
    assert (china.reads_of("ml-voice"), china.reads_of("ml-voice", "aws-cn")) == ("none", "all")


@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        ({"EventSelectors": [classic(VOICE)]}, True),
        ({"EventSelectors": [classic(VOICE, management=False)]}, False),
        ({"EventSelectors": [classic(reads="ReadOnly")]}, False),
        ({"EventSelectors": [classic(reads="WriteOnly")]}, True),
        ({"AdvancedEventSelectors": [advanced()]}, False),
        ({"AdvancedEventSelectors": [advanced(), advanced("Management")]}, True),
        ({"AdvancedEventSelectors": [advanced("Management", readOnly={"Equals": ["true"]})]}, False),
        ({}, False),
    ],
)
def test_management_events_are_those_that_change_something(answer, logged):
    assert Selectors.of(answer).management() is logged


def named(value):
    """A value of the template with names put in."""
    text = value["Fn::Sub"] if isinstance(value, dict) else value
    return text.replace("${AWS::Partition}", "aws").replace("${Name}", "bucketwatch")


def test_the_trail_of_our_own_template_covers_what_it_should():
    """Its selectors, with names put in, log the protected objects and nothing of the detector's own."""
    [trail] = resources("new-trail", "AWS::CloudTrail::Trail").values()
    selectors = [one["Fn::If"][1] if "Fn::If" in one else one for one in trail["Properties"]["AdvancedEventSelectors"]]
    for selector in selectors:
        for one in selector["FieldSelectors"]:
            for how in ("StartsWith", "NotStartsWith"):
                if isinstance(one.get(how), dict):
                    one[how] = [VOICE]
                elif how in one:
                    one[how] = [named(value) for value in one[how]]
    found = Selectors.of({"AdvancedEventSelectors": selectors})
    assert found.reads_of("ml-voice") == "all"
    assert found.reads_of("bucketwatch-state-111122223333") == "none"
    assert found.management()
    assert set(OTHER_WAYS) <= found.kinds()
