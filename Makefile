# What people and CI run. `make help` lists the targets.

CARGO ?= cargo
P4C ?= p4c-bm2-ss
# Debian packages: what the lab, the demo and the tests call.
PACKAGES = build-essential pkg-config protobuf-compiler iproute2 iputils-ping ethtool iperf3 \
           etcd-server etcd-client mininet isc-dhcp-client dnsmasq-base curl procps python3

.PHONY: help setup build test lint demo bench simulate chaos p4 clean

# Simulated storms, and rounds of chaos on real processes.
SEEDS ?= 1000
ROUNDS ?= 20

help: ## This list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Install the Debian packages that are missing (root or sudo)
	@missing=""; for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then sudo=""; else sudo=sudo; fi; \
	  echo "installing:$$missing"; \
	  $$sudo apt-get update -q && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi
	@command -v $(CARGO) >/dev/null || { echo "cargo is not on PATH: install Rust from your distribution or rustup"; exit 1; }

build: setup ## Build everything (development profile)
	$(CARGO) build --workspace --locked

test: setup ## Every test; those that build networks need root
	$(CARGO) test --workspace --locked

lint: ## Formatting and clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p p4switch --no-default-features --locked -- -D warnings

demo: setup ## A 2x2 fabric: up, provisioned, pinged, cut under traffic, left running
	$(CARGO) build --profile demo --locked -p pergola -p p4switch
	./target/demo/pergola demo

bench: setup ## Every benchmark
	$(CARGO) build --release --locked -p pergola -p p4switch
	$(CARGO) bench --workspace --locked

simulate: ## The simulated cluster with SEEDS storms; PERGOLA_SEED=S replays one
	PERGOLA_SEEDS=$(SEEDS) $(CARGO) test --release --locked -p pergola-engine --test engine -- --nocapture simulated

chaos: setup ## Real controllers, etcd and switches: ROUNDS more of kills and freezes (root)
	$(CARGO) build --workspace --bins --locked
	PERGOLA_CHAOS_ROUNDS=$(ROUNDS) $(CARGO) test --locked -p pergola-scenarios --test cluster -- --nocapture

p4: ## Compile the pipeline again with p4c from PATH
	p4/fabric/compile.sh $(P4C)

clean: ## Remove what was built
	$(CARGO) clean
