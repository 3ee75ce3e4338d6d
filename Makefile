# The front door. On a machine with Python >= 3.11 and make, `make conformance` and `make test` are all it takes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PROTO  := proto/bigfleet/v1alpha1/provider.proto

.DEFAULT_GOAL := help
.PHONY: help conformance test verify lint types proto fresh generate baseline docs screenshots selftest deletions mutants bench soak flake clean

help:  ## What there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

conformance: $(READY)  ## Judge TARGET=host:port, or the embedded fake; more options in ARGS
	$(BIN)/conformance-run $(if $(TARGET),--target $(TARGET),--fake) $(ARGS)

test: $(READY)  ## All tests but the self-test; more options in ARGS
	$(BIN)/pytest tests -n 2 $(ARGS)

verify: lint types proto fresh test selftest  ## All that CI asks for

lint: $(READY)  ## ruff: rules and format; what CI services read, by their schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

proto: $(READY)  ## buf: lint, and no break of the released contract
	$(BIN)/conformance proto lint
	$(BIN)/conformance proto breaking

fresh: $(READY)  ## What is generated is as it would be generated now
	$(BIN)/python -m tests.generated --check

generate: $(READY)  ## Generate the stubs and the generated documents again
	$(BIN)/python -m tests.generated

baseline: $(READY)  ## At a release only: freeze the contract and the catalogue as those to be compared with
	$(BIN)/buf build --as-file-descriptor-set --exclude-source-info -o proto/bigfleet/v1alpha1/released.binpb
	$(BIN)/python -m tests.released

selftest: $(READY)  ## The suite, judged by odd providers and broken ones; writes docs/kill-matrix.json
	$(BIN)/pytest selftest -n 4 --dist worksteal $(ARGS)

deletions: $(READY)  ## Whether the self-test notices each line of the suite that is deleted; LINES=30 SEED=1 for some
	nice $(BIN)/python -m selftest.deletions $(or $(LINES),all) $(SEED)

screenshots: $(READY)  ## What report.html looks like, into docs/screenshots; needs chromium
	$(BIN)/python -m tests.screenshots

mutants: $(READY)  ## The kit itself, mutated, in an hour or two: docs/kit-mutants.md; which ones in ARGS
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,mutants]'
	PATH="$(CURDIR)/$(BIN):$$PATH" nice $(BIN)/mutmut run --max-children 1 $(ARGS)
	@$(BIN)/mutmut results | grep -v 'not checked' || true

bench: $(READY)  ## What a run costs: latency x jobs, large fleets, and one RPC against the bare stub; options in ARGS
	$(BIN)/python -m tests.bench $(ARGS)

soak: $(READY)  ## The scale lane, five minutes long, or SOAK=1h: docs/reliability.md
	$(BIN)/python -m tests.soak $(SOAK)

flake: $(READY)  ## No wrong verdict of a conformant provider, ROUNDS times each, cores busy; goes on where it was: flake.ndjson
	nice $(BIN)/python -m tests.flake $(ROUNDS) --log flake.ndjson $(ARGS)

clean:  ## Take away what was installed and cached
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants
