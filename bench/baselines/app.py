"""The baselines as web applications: `POST /<way>/<sale>`, and a GET for the outcome of the one with Celery.

Nobody is asked who they are, and nobody is limited.
"""

from uuid import uuid4

from flask import Flask, Response, jsonify, request

from bench.baselines.tasks import buy
from bench.baselines.ways import WAYS, pool

OUTCOME = "SELECT confirmed FROM purchases WHERE request = %s"

app = Flask(__name__)


@app.post("/<way>/<int:sale>")
def sell(way: str, sale: int) -> tuple[Response, int]:
    """201, or 409 when there are not enough units."""
    body = request.get_json()
    if WAYS[way](sale, body["userId"], body["quantity"]):
        return jsonify(success=True, data={"saleId": sale, "quantity": body["quantity"]}), 201
    return jsonify(success=False, code="SOLD_OUT"), 409


@app.post("/celery/<int:sale>")
def queue(sale: int) -> tuple[Response, int]:
    """202 with the number of the request."""
    body = request.get_json()
    number = uuid4().hex
    buy.delay(number, sale, body["userId"], body["quantity"])
    return jsonify(success=True, data={"request": number}), 202


@app.get("/celery/<number>")
def outcome(number: str) -> Response:
    """Whether the request is still in the queue, and what came of it."""
    with pool().connection() as database:
        row = database.execute(OUTCOME, (number,)).fetchone()
    status = "queued" if row is None else "confirmed" if row[0] else "rejected"
    return jsonify(success=True, data={"request": number, "status": status})


@app.get("/healthz")
def healthz() -> Response:
    return jsonify(success=True)
