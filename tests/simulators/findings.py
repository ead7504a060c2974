"""What parliament finds in policies: a JSON document a line in, a JSON list of its findings a line out.

Run by the Python of `.simulators/.venv`. Three gaps of parliament 1.6.4 are mended here: keys that AWS knows for every
service and it does not; sessions as principals, which a bucket policy may name; what is an address.
"""

import ipaddress
import json
import re
import sys

import parliament
from parliament import statement

KEYS = {
    "aws:Ec2InstanceSourcePrivateIPv4": "Ip",
    "aws:Ec2InstanceSourceVpc": "String",
    "aws:SourceOrgID": "String",
    "aws:SourceOrgPaths": "String",
    "aws:ViaAWSService": "Bool",
    "aws:VpceAccount": "String",
    "aws:VpceOrgID": "String",
    "aws:VpceOrgPaths": "String",
}
SESSION = re.compile(r"arn:aws[a-z-]*:sts::\d{12}:(assumed-role/[^/*]+/[^/*]+|federated-user/[^/*]+)")
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html"""


def findings(document: str) -> list[str]:
    try:
        found = parliament.analyze_policy_string(document, ignore_private_auditors=True).findings
    except Exception as error:  # noqa: BLE001  # what it cannot digest is a finding, not the end of the run
        return [f"EXCEPTION: {error!r}"]
    return [f"{one.issue}: {one.detail}" for one in found if not _names_session(one)]


def _names_session(finding: parliament.finding.Finding) -> bool:
    return finding.issue == "UNKNOWN_PRINCIPAL" and bool(SESSION.fullmatch(finding.detail or ""))


def in_format(kind: str, values: list[object]) -> bool:
    if kind == "Ip":
        return all(_is_network(one) for one in values)
    return bool(PARLIAMENTS_FORMAT(kind, values))


def _is_network(value: object) -> bool:
    try:
        ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        return False
    return True


PARLIAMENTS_FORMAT = statement.is_value_in_correct_format_for_type
statement.is_value_in_correct_format_for_type = in_format
statement.GLOBAL_CONDITION_KEYS.update(KEYS)
for line in sys.stdin:
    sys.stdout.write(json.dumps(findings(line)) + "\n")
