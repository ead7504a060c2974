# `make demo` and `make test` do all of their own set-up, inside this folder: the uv tool in .tools, the program in
# .venv. Nothing is installed outside (uv and pip keep their caches where they always do), and nothing needs root.

UV_VERSION := 0.13.8
MINISTACK_VERSION := 1.5.33
PARLIAMENT_VERSION := 1.6.4
OLDEST := 3.11
NEWEST := 3.13

SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# The first Python on the path that will do; `make PYTHON=/path/to/python3.12 …` chooses another.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
  "$$p" -c '$(SUITABLE)' 2>/dev/null && command -v "$$p" && break; done)
endif

UV := .tools/bin/uv
SYNC := $(UV) sync --locked --quiet --python "$(PYTHON)"
BIN := .venv/bin

export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
export UV_NO_PROGRESS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH
# Trust the certificates that this machine trusts, where it has a list of them: some networks have one of their own.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem /etc/pki/tls/certs/ca-bundle.crt),)
export UV_SYSTEM_CERTS ?= 1
export NODE_EXTRA_CA_CERTS ?= $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem \
  /etc/pki/tls/certs/ca-bundle.crt))
endif

.DELETE_ON_ERROR:
.PHONY: help demo test lint bench bench-detection soak tables lock clean python

help:
	@echo "make demo    watch a theft being caught: sets everything up, then runs for under a minute"
	@echo "make test    set everything up, lint, check types and layers, run all tests"
	@echo "make lint    the checks of make test without the tests"
	@echo "make bench   measure speed beside its peers, up to an hour; less with BENCH='--records 100000 --lines 100000'"
	@echo "make bench-detection   what is caught, at what price: over an hour; BENCH=--quick for a few minutes"
	@echo "make soak    look for faults for MINUTES=30: fuzzing, mutants, laws with new examples, kills"
	@echo "make tables  write the tables of rules/README.md anew after a change in the rules' models"
	@echo "make lock    write uv.lock anew after a change in pyproject.toml"
	@echo "make clean   remove .venv, .tools and all caches in this folder"
	@echo "PYTHON=…     the Python to use ($(OLDEST) to $(NEWEST)); now: $(or $(PYTHON),none found)"

demo: .venv/.demo
	$(BIN)/bucketwatch demo

# Hypothesis runs the same examples every time (tests/conftest.py); HYPOTHESIS_PROFILE=explore looks for new ones.
test: lint .ministack/.venv/.synced .simulators/.venv/.synced .simulators/node_modules/.synced
	$(BIN)/pytest -n 2

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The peers live in an environment of their own (.bench/.venv, a git-ignored folder); program and tests never see them.
bench: .bench/.venv/.synced
	.bench/.venv/bin/python -m bench $(BENCH)

# What is caught, on organisations nobody has tuned on; it needs no peers but River, which is installed anyway.
bench-detection: .venv/.test
	$(BIN)/python -m bench.detection $(BENCH)

# Fuzzer and tests together, in an environment of their own (.soak/.venv); what it learns is kept in .soak, too.
MINUTES := 30
soak: .soak/.venv/.synced
	.soak/.venv/bin/python -m soak --minutes $(MINUTES) $(SOAK)

tables: .venv/.test
	$(BIN)/python -m tests.tables

lock: $(UV)
	$(UV) lock --python "$(PYTHON)"
	echo "ministack==$(MINISTACK_VERSION)" | $(UV) pip compile - --quiet --universal --generate-hashes --no-header \
	  --no-annotate --python-version $(OLDEST) --output-file tests/ministack.txt
	printf '%s\n' "parliament==$(PARLIAMENT_VERSION)" "setuptools<81" | $(UV) pip compile - --quiet --universal \
	  --generate-hashes --no-header --no-annotate --python-version $(OLDEST) --output-file tests/simulators/parliament.txt
	cd tests/simulators && npm install --package-lock-only --loglevel=error

clean:
	rm -rf .venv .tools .bench .soak .ministack .simulators .ruff_cache .mypy_cache .pytest_cache .import_linter_cache \
	  .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What an installation is made of. The kernel is compiled if there is a compiler.
PROJECT := pyproject.toml uv.lock hatch_build.py $(addprefix detector/logs/,_kernel.h _json.h _alike.h _slices.h _members.c _lines.c)

# The demo leaves the test tools alone if they are there; the tests want exactly what the lock says.
.venv/.demo: $(PROJECT) $(UV)
	$(SYNC) --no-dev --inexact
	@touch $@

.venv/.test: $(PROJECT) $(UV)
	$(SYNC)
	@touch .venv/.demo $@

.bench/.venv/.synced: $(PROJECT) $(UV)
	@mkdir -p .bench && echo '*' > .bench/.gitignore
	UV_PROJECT_ENVIRONMENT=.bench/.venv $(SYNC) --no-dev --group bench
	@touch $@

.soak/.venv/.synced: $(PROJECT) $(UV)
	@mkdir -p .soak && echo '*' > .soak/.gitignore
	UV_PROJECT_ENVIRONMENT=.soak/.venv $(SYNC) --group soak
	@touch $@

# The emulator of the end-to-end tests pins a botocore of its own, so it has an environment of its own.
.ministack/.venv/.synced: tests/ministack.txt $(UV)
	@mkdir -p .ministack && echo '*' > .ministack/.gitignore
	$(UV) venv --quiet --clear --python "$(PYTHON)" .ministack/.venv
	$(UV) pip sync --quiet --require-hashes --python .ministack/.venv tests/ministack.txt
	@touch $@

# What judges the policies we generate: parliament (it needs pkg_resources, which newer setuptools do not have) …
.simulators/.venv/.synced: tests/simulators/parliament.txt $(UV)
	@mkdir -p .simulators && echo '*' > .simulators/.gitignore
	$(UV) venv --quiet --clear --python "$(PYTHON)" .simulators/.venv
	$(UV) pip sync --quiet --require-hashes --python .simulators/.venv tests/simulators/parliament.txt
	@touch $@

# … and iam-simulate, which needs node. Where that is not to be had the tests that need it are skipped, and say so.
.simulators/node_modules/.synced: $(addprefix tests/simulators/,package.json package-lock.json .npmrc)
	@mkdir -p .simulators && echo '*' > .simulators/.gitignore
	@cp $^ .simulators
	@if ! command -v npm >/dev/null || ! node -e 'process.exit(Number(parseInt(process.versions.node) < 18))'; then \
	  echo "no IAM simulator: it needs npm and node 18 or newer; on Debian or Ubuntu: apt-get install nodejs npm" >&2; \
	elif cd .simulators && npm ci --loglevel=error; then touch node_modules/.synced; \
	else echo "no IAM simulator: npm could not install it" >&2; fi

$(UV): | python
	@echo "setting up uv $(UV_VERSION) in .tools (once)"
	@rm -rf .tools
	@"$(PYTHON)" -m venv .tools || { rm -rf .tools; \
	  echo "python3 cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@.tools/bin/python -m pip install --quiet uv==$(UV_VERSION)

python:
	@test -n "$(PYTHON)" || { \
	  echo "no Python $(OLDEST) to $(NEWEST) found; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c '$(SUITABLE)' || { \
	  echo "$(PYTHON) is no Python $(OLDEST) to $(NEWEST); name another: make PYTHON=/path/to/python3.12" >&2; exit 2; }
