"""The baseline: the least that Flask can do with a JSON request. Same server, same settings, no shop behind it."""

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.post("/bare")
def answer() -> Response:
    """Read a JSON body, answer with one."""
    return jsonify(success=True, data={"quantity": request.get_json()["quantity"]})


@app.get("/bare")
def show() -> Response:
    """Answer a GET with as little."""
    return jsonify(success=True, data={"id": "1"})


@app.get("/healthz")
def healthz() -> Response:
    return jsonify(success=True)
