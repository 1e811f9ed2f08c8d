# Demo and tests use one cargo profile, so that they share their compiled dependencies.
CARGO_TARGET_DIR ?= target
WITH_ENGINE := scripts/engine.sh with --

export STATIONMASTER_PEER_205 := $(CURDIR)/target/peer/2.0.5/bin/python
export STATIONMASTER_PEER_206 := $(CURDIR)/target/peer/2.0.6a0/bin/python

.PHONY: help demo test tokens soak readme fuzz bench build lint proto wheel venv peer clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: ## install what is missing, build, and take a real train through three stations
	scripts/setup.sh demo
	cargo build --profile quick --locked
	$(WITH_ENGINE) $(CARGO_TARGET_DIR)/quick/stationmaster-demo

test: ## install what is missing, build, and run every test
	scripts/setup.sh test
	$(WITH_ENGINE) scripts/test.sh

tokens: ## run the keystore's suite on more tokens than `make test` has: Kryoptic, a TPM, openCryptoki
	scripts/setup.sh tokens
	scripts/tokens.sh

soak: ## run the tests that take minutes to hours: memory with full-size trains, kills at every point (STATIONMASTER_SOAK_ROUNDS=5), times of OAEP
	scripts/setup.sh test
	cargo test --release --locked -p stationmaster-keystore --lib -- --ignored --nocapture --test-threads=1 --skip tests::suite::
	$(WITH_ENGINE) cargo test --profile quick --locked --features crash-points --test it -- --ignored --nocapture --test-threads=1 --skip readme::

readme: ## type README's steps in a fresh Debian 12 with systemd, in a container, and run a train there
	scripts/setup.sh readme
	$(WITH_ENGINE) scripts/fresh-debian.sh
	$(WITH_ENGINE) cargo test --profile quick --locked --features crash-points --test it -- --ignored --nocapture readme::

fuzz: ## fuzz every parser of foreign data (SECONDS_EACH=60, ARGS="opt tree", JOBS=2); compare 200,000 archives with Python and Go
	scripts/setup.sh test
	JOBS=2 scripts/fuzz.sh short
	scripts/fuzz.sh long $(ARGS)
	STATIONMASTER_TARFILE_ARCHIVES=$${ARCHIVES:-200000} cargo test --profile quick --locked --features crash-points --test it -- --nocapture tarfile

bench: ## measure, and write docs/performance.md (ARGS="--only keys --rounds 5", ARGS=--report)
	scripts/setup.sh test
	$(WITH_ENGINE) scripts/bench.sh $(ARGS)

build: ## install what is missing to build, and build the optimised binary, its manual pages and completions
	scripts/setup.sh build
	cargo build --release --locked
	scripts/manual.sh $(CARGO_TARGET_DIR)/release/stationmaster $(CARGO_TARGET_DIR)/release/share

lint: ## check formatting, clippy's lints, licences, duplicates and advisories of dependencies (ADVISORY_DB=FILE: an archive)
	scripts/setup.sh build
	scripts/lint.sh

proto: ## generate code from proto/: crates/proto/src/generated and the Python client
	cargo run --profile quick --package stationmaster-proto-generator
	scripts/venv.sh
	$(STATIONMASTER_PEER_205) clients/python/generate.py

wheel: ## build the Python client's wheel into target/wheel
	scripts/venv.sh
	mkdir -p target/wheel
	cd clients/python && $(STATIONMASTER_PEER_205) -c 'import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])' $(CURDIR)/target/wheel

venv: ## create the Python environments with train_lib for the tests
	scripts/venv.sh

peer: venv ## test the test peer on its own: a route of train_lib stations only
	$(WITH_ENGINE) tests/peer/selftest.sh

clean: ## remove all build output
	cargo clean
	rm -rf target/peer target/engine target/next-engine
