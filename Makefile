# On a machine with Python >= 3.11 and make, start with `make conformance` or `make test`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PROTO  := proto/bigfleet/v1alpha1/provider.proto

.DEFAULT_GOAL := help
.PHONY: help conformance test verify lint types proto fresh generate baseline docs screenshots selftest deletions stacks proxies mutants bench soak flake clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

conformance: $(READY)  ## Judge TARGET=host:port, or the embedded fake; further options in ARGS
	$(BIN)/conformance-run $(if $(TARGET),--target $(TARGET),--fake) $(ARGS)

test: $(READY)  ## Run all tests except the self-test; further options in ARGS
	$(BIN)/pytest tests -n 3 --dist loadgroup $(ARGS)

verify: lint types proto fresh test selftest  ## Run everything that CI runs

lint: $(READY)  ## Check code (ruff), layers (import-linter), CI files (JSON schemas), spelling and wording
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/python -m tools.prose

types: $(READY)  ## Check types (mypy, strict)
	$(BIN)/mypy

proto: $(READY)  ## Check the proto with buf: lint, and breaking changes against the released contract
	$(BIN)/conformance proto lint
	$(BIN)/conformance proto breaking

fresh: $(READY)  ## Check that generated files are up to date
	$(BIN)/python -m tools.generated --check

generate: $(READY)  ## Regenerate the stubs and the generated documents
	$(BIN)/python -m tools.generated

baseline: $(READY)  ## At a release only: freeze contract and catalogue as the baseline for comparisons
	$(BIN)/buf build --as-file-descriptor-set --exclude-source-info -o proto/bigfleet/v1alpha1/released.binpb
	$(BIN)/python -m tools.released

selftest: $(READY)  ## Test the suite with variants and mutants; writes docs/kill-matrix.json
	$(BIN)/pytest selftest -n 4 --dist worksteal $(ARGS)

deletions: $(READY)  ## Delete each line of the suite in turn and check that the self-test notices; LINES=30 SEED=1 for a sample
	nice $(BIN)/python -m selftest.deletions $(or $(LINES),all) $(SEED)

stacks: $(READY)  ## Build and judge the providers on all other gRPC stacks (tests/stacks); options in ARGS
	CONFORMANCE_STACKS=all nice $(BIN)/pytest tests/stacks -n 2 --dist loadgroup $(ARGS)

proxies: $(READY)  ## Judge the fake behind nginx, HAProxy, Caddy and Envoy, plain and with TLS (tests/proxies); options in ARGS
	CONFORMANCE_PROXIES=all nice $(BIN)/pytest tests/proxies -n 2 $(ARGS)

screenshots: $(READY)  ## Take screenshots of report.html into docs/screenshots; needs chromium
	$(BIN)/python -m tools.screenshots

mutants: $(READY)  ## Mutation-test the kit, one to two hours (docs/kit-mutants.md); a selection in ARGS
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,mutants]'
	PATH="$(CURDIR)/$(BIN):$$PATH" nice $(BIN)/mutmut run --max-children 1 $(ARGS)
	@$(BIN)/mutmut results | grep -v 'not checked' || true

bench: $(READY)  ## Measure the cost of a run: latency x jobs, large fleets, one RPC against the bare stub; options in ARGS
	$(BIN)/python -m tools.bench $(ARGS)

soak: $(READY)  ## Run the scale lane for five minutes, or SOAK=1h (docs/reliability.md)
	$(BIN)/python -m tools.soak $(SOAK)

flake: $(READY)  ## Look for wrong verdicts on conformant providers, ROUNDS times each, cores busy; resumes from flake.ndjson
	nice $(BIN)/python -m tools.flake $(ROUNDS) --log flake.ndjson $(ARGS)

clean:  ## Remove everything that was installed or cached
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants
