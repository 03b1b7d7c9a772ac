"""A rush: a crowd of buyers with real tokens, over real HTTP, on the running stack; and the proof that it went right.

Forward through one rush: `course` makes the buyers, asks `sales` which sales they want, lets the `crowd` loose, which
keeps a `tally` that the `display` shows; then the `auditor` reads the shop's books, the `verdict` holds the tally
against them, and the `report` tells it to people and machines.
"""

from ops.rush.course import Options, run
from ops.rush.verdict import Verdict

__all__ = ["Options", "Verdict", "run"]
