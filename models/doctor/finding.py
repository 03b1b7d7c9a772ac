"""What the doctor finds: a name that never changes, how bad it is, what is wrong, and what helps."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad: a warning is a sale that goes badly; critical is one that cannot be exact, or cannot be at all."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` is stable, upper snake case; docs/runbook.md explains each."""

    code: str
    severity: Severity
    what: str
    cure: str

    def as_dict(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


def warning(code: str, what: str, cure: str) -> Finding:
    return Finding(code, Severity.WARNING, what, cure)


def critical(code: str, what: str, cure: str) -> Finding:
    return Finding(code, Severity.CRITICAL, what, cure)
