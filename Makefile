# What a person runs; the work is done by the scripts in make/.

.DEFAULT_GOAL := help
.PHONY: help setup build release demo test clean-lab

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):/usr/sbin:/sbin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the mesh on this machine and measure it (root; KEEP=1 keeps the lab)
	@make/demo

test: setup ## format, lints, dependencies, and every test (those that need root are skipped without it)
	@make/test

setup: ## install what building and testing needs and this machine lacks
	@make/setup

build: setup ## build all programs for debugging
	cargo build --workspace --bins --locked

release: setup ## build all programs as they are released
	cargo build --workspace --bins --release --locked

clean-lab: ## take down every lab of this machine
	@make/clean-lab
