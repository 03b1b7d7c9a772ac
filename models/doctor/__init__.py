"""The check before the sale: what would go wrong tomorrow, each thing with its cure.

It only looks. Every question is bounded, and a part that is away is a finding and not an error: the rest is still
examined.
"""

from models.doctor.examine import examine
from models.doctor.finding import Finding, Severity

__all__ = ["Finding", "Severity", "examine"]
