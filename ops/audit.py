"""`python -m ops.audit`: whether anything that we run on, or build with, has a known vulnerability.

pip-audit asks a service on the network. A finding fails; what could not be asked about is said loudly and does not
fail, or nobody could check the code on a train. Further arguments go to pip-audit as they are.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# What is in it satisfies the other sets too: requirements/dev.in takes them in.
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
FOUND = 1
SERVICE_SECONDS_MAX = 15  # for one question
AUDIT_SECONDS_MAX = 300
NAMED_MAX = 5


@dataclass(frozen=True)
class Audit:
    """What came of it: each vulnerability as a line, and the packages that nobody could say anything about."""

    findings: list[str]
    unknown: list[str]
    packages: int


def main(arguments: list[str]) -> int:
    """The exit status: 1 with a finding, else 0."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--disable-pip",
        "--require-hashes",
        "--requirement",
        str(REQUIREMENTS),
    ]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(SERVICE_SECONDS_MAX), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS_MAX, check=False)
        audit = read(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return _say_unasked(f"it took over {AUDIT_SECONDS_MAX} s")
    except (ValueError, LookupError, TypeError):
        # It says nothing on standard output unless the service answered.
        return _say_unasked(done.stderr.strip().rpartition("\n")[2][:200])
    for finding in audit.findings:
        print(f"doorbuster: vulnerable: {finding}", file=sys.stderr)
    if audit.unknown:
        named = ", ".join(audit.unknown[:NAMED_MAX]) + (", ..." if len(audit.unknown) > NAMED_MAX else "")
        _say_unasked(f"{len(audit.unknown)} of {audit.packages} packages are not known to it: {named}")
    else:
        print(f"{audit.packages} packages audited, {len(audit.findings)} known vulnerabilities")
    return FOUND if audit.findings else 0


def read(report: dict[str, Any]) -> Audit:
    """pip-audit's report in JSON. Raises LookupError and TypeError for what is none."""
    found = report["dependencies"]
    findings = [_line(each, flaw) for each in found for flaw in each.get("vulns", ())]
    return Audit(findings, [each["name"] for each in found if "skip_reason" in each], len(found))


def _line(package: dict[str, Any], flaw: dict[str, Any]) -> str:
    mended = ", ".join(flaw["fix_versions"]) or "no version yet"
    return f"{package['name']} {package['version']}: {flaw['id']}, mended in {mended}"


def _say_unasked(why: str) -> int:
    line = "*" * 100
    print(f"{line}\nNOT AUDITED for known vulnerabilities: {why}\n{line}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
