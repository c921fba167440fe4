# What a person runs; the work is done by the scripts in make/.

.DEFAULT_GOAL := help
.PHONY: help setup build release demo test clean-lab images cluster cluster-down install conformance test-cluster bench bench-check bench-doc bench-micro bench-instructions bench-setup profile h2spec

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):/usr/sbin:/sbin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the mesh on this machine and measure it (root; KEEP=1 keeps the lab)
	@make/demo

test: setup ## format, lints, dependencies, and every test (those that need root are skipped without it)
	@make/test

setup: ## install what building and testing needs and this machine lacks
	@make/setup

build: setup ## build all programs for debugging
	cargo build --workspace --bins --locked

release: setup ## build all programs as they are released, into target/programs
	@make/release

clean-lab: ## take down every lab of this machine
	@make/clean-lab

bench: ## measure Weir beside Envoy, nginx and HAProxy (root; CASE=name for one; SOAK=minutes; WEIR_BIN, WEIR_BASE: folders of other builds)
	@make/bench run $(CASE)

bench-check: ## measure in the short form, and print which goals are met (root)
	@make/bench check

profile: ## draw flame graphs of Weir under the load of a case, in target/bench/profiles (root; CASE=name)
	@make/bench profile $(CASE)

bench-doc: ## write the figures of the last report into docs/performance.md
	@$(or $(CARGO_TARGET_DIR),target)/release/weir-bench document --output $(or $(CARGO_TARGET_DIR),target)/bench docs/performance.md

bench-micro: setup ## measure the compiler, routes and the configuration's codec by themselves
	cargo bench --locked --package mesh-ir --bench route
	cargo bench --locked --package mesh-wire --bench codec
	cargo bench --locked --package mesh-compile --bench change

bench-instructions: ## count the instructions of the hot paths; fails where one takes more than its bound
	@make/bench instructions

bench-setup: ## install what measuring needs
	@make/bench setup

h2spec: ## run h2spec against a Gateway, nginx and Envoy; Weir may fail nothing that both others pass (root)
	@make/h2spec

images: setup ## build an image of each program, as archives in target/images
	@make/images

cluster: ## start a Kubernetes of two nodes on this machine (root; the first time it is built, which takes a while)
	@tests/cluster/build
	@tests/cluster/up

cluster-down: ## end that cluster; nothing of it is left
	@tests/cluster/down

install: setup ## build the images and install the chart in that cluster; again after a change it upgrades
	@tests/cluster/install

conformance: ## run the Gateway API's suite there (PROFILES=GATEWAY-HTTP,MESH-GRPC TEST=name; all that are served without)
	@PROFILES=$(PROFILES) TEST=$(TEST) tests/cluster/conformance

test-cluster: ## test the mesh in that cluster, which is started and taken down if none runs (root)
	@tests/cluster/test
