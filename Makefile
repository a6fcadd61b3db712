# Everything a person types. `make help` lists it; every target makes or refreshes .venv first where it needs one.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
STAMP := .venv/.installed
OPENRLHF := .venv/openrlhf/.installed
OPENRLHF_CPU := .venv-openrlhf/.installed
OTHER_DUCKDB := .venv/duckdb-1.5/.installed
OTHER_TRANSFORMERS := .venv/transformers-5.15/.installed
UV := .venv/bin/uv
RUN := .venv/bin/python
PYTEST := $(RUN) -m pytest
LOCK := $(UV) pip compile --quiet --no-emit-index-url --custom-compile-command "make lock" --generate-hashes

# One thread per process: the tests, the rollout shards and the trainer share the cores among processes.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
# Without byte code every Airflow process compiles all that it imports again (twice the start-up time).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo ui env stack stack-up stack-down lint types check test test-full test-openrlhf faults bench lock clean distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP) $(OPENRLHF)  ## make .venv from the locks, byte-compiled; at once when nothing changed

$(UV): requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or say make PYTHON=/path/to/it"; exit 1; }
	@test -x $(RUN) || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@$(RUN) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# torch first and by pip alone: pip's own configuration may offer a CPU build, which uv would not see. All of it is
# byte-compiled at the end, once and on every core. torch ships a file in the syntax of Python 3.12, which 3.11
# cannot compile and never imports: hence `|| true`.
$(STAMP): $(UV) requirements/torch.txt requirements/lock.txt pyproject.toml
	@echo "installing torch (the largest part)"
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-compile -r requirements/torch.txt
	@echo "installing the locked packages"
	@$(UV) pip install --quiet --python $(RUN) --require-hashes -r requirements/lock.txt
	@$(UV) pip install --quiet --python $(RUN) --no-deps --no-build-isolation -e .
	@echo "byte-compiling"
	@$(RUN) -m compileall -qq -j 0 .venv/lib || true
	@touch $@

# OpenRLHF's own source without what it needs, in a folder of its own: its parser, losses and estimators are asked
# by tests. Nothing imports it from there otherwise; the whole of it is for machines with a GPU (extra `gpu`).
$(OPENRLHF): requirements/openrlhf.txt $(STAMP)
	@rm -rf $(@D)
	@$(RUN) -m pip install -qq --disable-pip-version-check --require-hashes --no-deps --target $(@D) -r requirements/openrlhf.txt
	@touch $@

# All of OpenRLHF on a machine without a GPU (3.8 GB), apart from .venv: its pins are not ours. What only a GPU
# can use is struck from the lock. DeepSpeed builds from source, with an older setuptools, without its CUDA parts.
$(OPENRLHF_CPU): requirements/openrlhf-cpu.txt requirements/openrlhf-cpu-build.txt requirements/torch.txt $(UV)
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@echo "installing torch, then OpenRLHF with vLLM, Ray and DeepSpeed for CPUs (minutes)"
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check --no-compile -r requirements/torch.txt
	@DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(UV) pip install --quiet --python $(@D)/bin/python --require-hashes --no-deps \
		--build-constraint requirements/openrlhf-cpu-build.txt -r requirements/openrlhf-cpu.txt
	@$(@D)/bin/python -m compileall -qq -j 0 $(@D)/lib || true
	@touch $@

# Another DuckDB with its httpfs, in a folder of its own: tests/storage/test_duckdb_1_5.py.
$(OTHER_DUCKDB): requirements/duckdb-1.5.txt $(STAMP)
	@rm -rf $(@D)
	@$(RUN) -m pip install -qq --disable-pip-version-check --require-hashes --no-deps --target $(@D) -r requirements/duckdb-1.5.txt
	@touch $@

# The transformers of the cluster's set, likewise: tests/itpo_core/test_transformers_5_15.py.
$(OTHER_TRANSFORMERS): requirements/transformers-5.15.txt $(STAMP)
	@rm -rf $(@D)
	@$(RUN) -m pip install -qq --disable-pip-version-check --require-hashes --no-deps --target $(@D) -r requirements/transformers-5.15.txt
	@touch $@

demo: $(STAMP)  ## the whole loop on a real scheduler, ending with the path of the report
	@$(RUN) -m dags.demo

ui: $(STAMP)  ## Airflow with its web pages on loopback
	@$(RUN) -m dags.ui

env: $(STAMP)  ## .env for docker compose, with secrets of its own
	@$(RUN) -m dags.stack_settings

stack: $(STAMP)  ## docker-compose.yml without containers: start, one iteration, stop; wants Debian's postgresql
	@$(RUN) -m dags.stack run $(PORTS:%=--port %)

stack-up stack-down: $(STAMP)
	@$(RUN) -m dags.stack $(@:stack-%=%) $(PORTS:%=--port %)

lint: $(STAMP)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ."; exit 1; }

types: $(STAMP)
	@.venv/bin/ty check --output-format concise

check: lint types $(OPENRLHF)  ## lint, types and the fast tests: under a minute
	@$(PYTEST) -q -n 2 -m "not slow and not e2e and not browser"

test: $(STAMP) $(OPENRLHF)  ## the tests that CI runs
	@$(PYTEST) -q -n 2 -m "not e2e and not browser"

test-full: $(STAMP) $(OPENRLHF) $(OTHER_DUCKDB) $(OTHER_TRANSFORMERS)  ## every test; wants the Debian packages chromium and postgresql
	@$(PYTEST) -q -n 2 -m "not e2e and not browser"
	@$(PYTEST) -q -m "e2e or browser" -k "not openrlhf_ray and not test_openrlhf_iteration" --ignore tests/openrlhf

test-openrlhf: $(STAMP) $(OPENRLHF_CPU)  ## whole trainings inside the real OpenRLHF and vLLM, on this CPU: an hour
	@$(PYTEST) -q -n 0 -m e2e tests/openrlhf tests/dags/test_openrlhf_iteration.py tests/contracts/test_trainer.py

faults: $(STAMP) $(OPENRLHF)  ## each planted fault must turn its test red
	@$(RUN) -m tests.faults.run

bench: $(STAMP)  ## the figures of docs/benchmarks.md; make bench-NAME runs one and prints it
	@$(RUN) -m benchmarks.run

bench-%: $(STAMP)
	@$(RUN) -m benchmarks.run $*

# torch is struck from the locks by an override whose marker is never true; see requirements/overrides.txt.
lock: $(UV)  ## compile the locks anew
	@$(LOCK) --python $(RUN) requirements/uv.in -o requirements/uv.txt
	@$(LOCK) --python $(RUN) requirements/duckdb-1.5.in -o requirements/duckdb-1.5.txt
	@$(LOCK) --python $(RUN) --no-deps requirements/transformers-5.15.in -o requirements/transformers-5.15.txt
	@$(LOCK) --python $(RUN) --no-deps requirements/openrlhf.in -o requirements/openrlhf.txt
	@$(LOCK) --python $(RUN) --override requirements/overrides.txt --extra airflow --extra local --extra dev pyproject.toml -o requirements/lock.txt
	@$(LOCK) --python $(RUN) --python-platform x86_64-manylinux_2_28 --override requirements/gpu-overrides.txt \
		--extra local --extra gpu pyproject.toml -o requirements/gpu.txt
	@$(LOCK) --python $(RUN) --no-deps requirements/gpu-flash-attn.in -o requirements/gpu-flash-attn.txt
	@DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(LOCK) --python $(RUN) --override requirements/openrlhf-cpu-overrides.txt \
		--build-constraint requirements/openrlhf-cpu-build.txt requirements/openrlhf-cpu.in -o requirements/openrlhf-cpu.txt

clean:  ## remove caches and what the demo wrote; keep .venv
	rm -rf .pytest_cache .ruff_cache .hypothesis .demo .stack/run build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +

distclean: clean  ## also remove .venv
	rm -rf .venv .venv-openrlhf
