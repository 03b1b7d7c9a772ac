"""Health, for machines: outside /api, outside the limits, and not in the log at INFO."""

from flask import Blueprint
from flask.wrappers import Response

from models.readiness import UP, check_readiness, read_alarms
from web.envelope import fail, ok

RETRY_AFTER_SECONDS = 2

ALIVE = "/healthz"

blueprint = Blueprint("health", __name__)


@blueprint.get(ALIVE)
def healthz() -> Response:
    """This process answers. Asks nobody else: restarting it would mend nothing that is wrong elsewhere."""
    return ok(None, "alive")


@blueprint.get("/readyz")
def readyz() -> Response:
    """Everything that selling needs is up: 200; or 503, with the parts by name.

    `alarms` are for people and change no status: a line that waits too long is no reason to send buyers away.
    """
    checks = check_readiness()
    told = {"checks": checks, "alarms": read_alarms()}
    if all(state == UP for state in checks.values()):
        return ok(told, "ready")
    return fail(
        503,
        "NOT_READY",
        "Not ready",
        data=told,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
