# One image for every process of Doorbuster; docker-compose.yml names what each of them runs.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements.txt .
# Every file is pinned by its hash, and only wheels are taken: nothing is compiled, and no setup script runs.
RUN /venv/bin/pip install --require-hashes --only-binary :all: -r requirements.txt
# `--build-arg TRACES=1`: for OTEL_EXPORTER_OTLP_ENDPOINT, with what it needs beside them.
ARG TRACES=
COPY requirements/traces.txt .
RUN [ -z "$TRACES" ] || /venv/bin/pip install --require-hashes --only-binary :all: -r traces.txt
WORKDIR /app
COPY celeryconfig.py gunicorn.conf.py pyproject.toml wsgi.py ./
COPY models models
COPY web web
COPY worker worker
COPY migrations migrations
COPY ops/__init__.py ops/health.py ops/
# What one process was measured to do, for `flask doctor`.
COPY docs/benchmarks/accept.json docs/benchmarks/fanout.json docs/benchmarks/
# Compiled here, because the container cannot write beside its sources.
RUN /venv/bin/python -m compileall -q .

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
# A number, so that Kubernetes too can see that it is not root.
USER 10001:10001
