# Doorbuster on one machine. Settings reach every target both ways: `make run PORT=9000` and `PORT=9000 make run`.

PYTHON ?= python3
VENV := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run dev reset flask backup restore soak test check lock buyers rush bench scaling faults fuzz migrate postman browser proxy promtool pooler rabbitmq wrk screenshots install-local install-bench install-dev

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

run: install-local ## everything, until Ctrl-C: servers, shop, workers, demo (PORT= LIVE_PORT= FLOWER_PORT= DATA_DIR=)
	@exec $(VENV) -m ops

dev: install-dev ## `make run` for who works on it: the shop's processes start anew when a source of theirs is saved
	@exec $(VENV) -m ops --reload

reset: install-local ## throw away what `make run` keeps in DATA_DIR
	@$(VENV) -m ops.reset

flask: install-local ## a command of the shop's, such as doctor, on the running stack (CMD=)
	@$(VENV) -m ops.flask $(CMD)

backup: install-local ## copy the servers of the running stack into a new folder, also in a rush (OUT=)
	@$(VENV) -m ops.backup $(if $(OUT),--out '$(OUT)')

restore: install-local ## fill a clean DATA_DIR with what `make backup` made (FROM=)
	@$(VENV) -m ops.restore $(if $(FROM),--from '$(FROM)')

fuzz: install-dev ## bad input at volume, at a stack of its own; written into docs/reliability.md (CASES= SEED=)
	@$(VENV) -m tests.hostile $(if $(CASES),--cases '$(CASES)') $(if $(SEED),--seed '$(SEED)')

migrate: install-local ## bring the database at DATABASE_URL, or of the running stack, up to date
	@$(VENV) -m ops.migrate

buyers: install-local ## make buyers with their tokens in the running stack (COUNT= OUT=)
	@$(VENV) -m ops.buyers $(if $(COUNT),--count '$(COUNT)') $(if $(OUT),--out '$(OUT)')

rush: install-local ## let a crowd loose on the running stack (BUYERS= UNITS= QUANTITY= SALE= SALES= JSON=)
	@$(VENV) -m ops.rush $(if $(BUYERS),--buyers '$(BUYERS)') $(if $(UNITS),--units '$(UNITS)') \
		$(if $(QUANTITY),--quantity '$(QUANTITY)') $(if $(SALE),--sale '$(SALE)') $(if $(SALES),--sales '$(SALES)') \
		$(if $(JSON),--json '$(JSON)')

bench: install-bench wrk ## measure, each figure beside its baseline (ONLY=a,b ROUNDS= QUICK=1)
	@$(VENV) -m bench $(ONLY) $(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(QUICK),--quick)

scaling: install-bench ## simulate other sizes of the shop and of the crowd with what was measured: docs/scaling.md, or one crowd on the terminal (BUYERS= UNITS= MACHINES= CORES= WINDOW= SALES= SHARDS=)
	@$(VENV) -m bench.model $(if $(BUYERS),--buyers '$(BUYERS)') $(if $(UNITS),--units '$(UNITS)') \
		$(if $(MACHINES),--machines '$(MACHINES)') $(if $(CORES),--cores '$(CORES)') $(if $(WINDOW),--window '$(WINDOW)') \
		$(if $(SALES),--sales '$(SALES)') $(if $(SHARDS),--shards '$(SHARDS)')

faults: install-dev ## break the stack in every way we know, and count what is lost (SEEDS= FIRST= SEED= FAULT=)
	@$(VENV) -m tests.faults $(if $(SEEDS),--seeds '$(SEEDS)') $(if $(FIRST),--first '$(FIRST)') \
		$(if $(SEED),--seed '$(SEED)') $(if $(FAULT),--fault '$(FAULT)')

soak: install-bench ## steady load on a stack of its own: does anything grow? (MINUTES= OUT=)
	@$(VENV) -m ops.soak $(if $(MINUTES),--minutes '$(MINUTES)') $(if $(OUT),--out '$(OUT)')

postman: install-local ## write docs/openapi.json and docs/postman from the code
	@$(VENV) -m ops.documents

check: install-dev ## format, lint, types, import rules, weak spots and known vulnerabilities
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .
	$(VENV) -m mypy
	.venv/bin/lint-imports
	$(VENV) -m bandit --quiet --configfile pyproject.toml --recursive models web worker ops migrations celeryconfig.py wsgi.py
	@$(VENV) -m ops.audit

test: install-dev ## the suite, on servers of its own; LONG=1 adds the stories that take minutes each
	$(VENV) -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder $(if $(LONG),,-m 'not long')

browser: ## install Debian's Chromium, which the tests of the pages use, unless it is there (as root)
	@command -v chromium >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
			{ echo "doorbuster: there is no chromium: as root, apt-get install chromium" >&2; exit 1; }; \
		apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends chromium >/dev/null; }

proxy: ## install Debian's nginx, which the tests of the proxy run, unless it is there (as root)
	@[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
			{ echo "doorbuster: there is no nginx: as root, apt-get install nginx-light" >&2; exit 1; }; \
		apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends nginx-light >/dev/null; }

promtool: ## fetch Debian's promtool, which the tests of the alert rules run, into .cache unless it is there
	@command -v promtool >/dev/null || [ -x .cache/promtool ] || { \
		command -v apt-get >/dev/null || { echo "doorbuster: there is no promtool: put Prometheus's into .cache" >&2; exit 1; }; \
		if [ "$$(id -u)" = 0 ]; then apt-get update --quiet=2; fi; \
		mkdir -p .cache/prometheus && cd .cache/prometheus && apt-get download --quiet=2 --option APT::Sandbox::User=root prometheus && \
		dpkg-deb --extract prometheus_*.deb . && mv usr/bin/promtool .. && cd .. && rm -r prometheus; }

pooler: ## install Debian's PgBouncer, which the tests of the pooler run, unless it is there (as root)
	@[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
			{ echo "doorbuster: there is no pgbouncer: as root, apt-get install pgbouncer" >&2; exit 1; }; \
		apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends pgbouncer >/dev/null && \
		{ service pgbouncer stop; update-rc.d pgbouncer disable; true; } >/dev/null 2>&1; }

rabbitmq: ## install Debian's RabbitMQ, which the tests of brokers run, and start no service of it (as root)
	@[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || \
			{ echo "doorbuster: there is no rabbitmq-server: as root, apt-get install rabbitmq-server" >&2; exit 1; }; \
		policy=/usr/sbin/policy-rc.d; \
		[ -e $$policy ] || { trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' > $$policy && chmod 755 $$policy; }; \
		apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends rabbitmq-server >/dev/null && \
		{ update-rc.d rabbitmq-server disable >/dev/null 2>&1 || true; }; }

wrk: ## install Debian's load generator, which the benchmarks use, unless it is there (as root)
	@command -v wrk >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends wrk >/dev/null; } || \
		echo "doorbuster: there is no wrk; a slower crowd of ours stands in for it" >&2

screenshots: install-dev browser ## take the pictures in docs/screenshots anew
	@$(VENV) -m ops.screenshots

lock: install-dev ## compile the pinned requirements anew (needs uv)
	@command -v uv >/dev/null || { echo "doorbuster: make lock needs uv: pip install uv" >&2; exit 1; }
	cd requirements && $(LOCK) --output-file ../requirements.txt base.in
	cd requirements && $(LOCK) --output-file local.txt local.in
	cd requirements && $(LOCK) --output-file bench.txt bench.in
	cd requirements && $(LOCK) --output-file traces.txt traces.in
	cd requirements && $(LOCK) --output-file dev.txt dev.in

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

install-local install-bench install-dev: install-%:
	@command -v $(PYTHON) >/dev/null || { echo "doorbuster: there is no $(PYTHON) here: install Python 3.11 to 3.13, or name one, e.g. make PYTHON=python3.12 run" >&2; exit 1; }
	@$(PYTHON) ops/install.py $*
