# `make demo` and `make test` are all that is needed; each sets up what it needs first.
# Whatever is longer than a few lines is in scripts/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.PHONY: demo test test-long setup build bench-smoke bench bench-full bench-criterion lint clean

demo: build ## A simulated network in the engine: pays, breaks, restarts and shows what came of it.
	bin/fulgurite demo

test: ## Everything: needs Go and Python too, for real lnd nodes and for foreign clients.
	@scripts/setup --with-go --with-clients
	@$(MAKE) build
	scripts/test

test-long: ## The proofs of exactly-once whole, of which `make test` runs slices.
	@scripts/setup --with-go
	@$(MAKE) build
	scripts/test-long

setup:
	@scripts/setup

build: setup ## Leaves bin/fulgurite, and fulgurite-loadtest and fulgurite-prove beside it.
	. scripts/env && cargo build --release -p fulgurite -p fulgurite-loadtest -p fulgurite-prove
	. scripts/env && mkdir -p bin && \
		install -C "$$CARGO_TARGET_DIR"/release/fulgurite{,-loadtest,-prove} bin/

bench-smoke: build ## A short load test, for "does it still keep its promises".
	bin/fulgurite-loadtest smoke

bench: build ## The goals P1, P2, P3 and P6 of docs/performance.md, in one table; below ten minutes.
	bin/fulgurite-loadtest bench --out loadtest/results

bench-full: ## All goals, real lnd too: hours, and 20 GB of disk.
	@scripts/setup --with-go
	@$(MAKE) build
	bin/fulgurite-loadtest bench --full --out loadtest/results

bench-criterion: setup ## One group per hot function, with criterion.
	. scripts/env && cargo bench -p fulgurite-bench

lint: ## What .ci/run checks besides the tests.
	@scripts/setup --with-deny
	. scripts/env && cargo fmt --all --check
	. scripts/env && cargo clippy --release --workspace --all-targets -- -D warnings
	. scripts/env && RUSTDOCFLAGS=-Dwarnings cargo doc --release --workspace --no-deps
	. scripts/env && cargo deny check bans licenses sources

clean: ## Removes what cargo compiled; RocksDB, the tools and lnd stay in the cache.
	. scripts/env && cargo clean
	rm -rf bin
