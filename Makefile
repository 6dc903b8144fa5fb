# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The commands of this collection; what each of them runs is written in tests/tools/targets.py.

PYTHON ?= python3
ARGS ?=
TARGETS = demo test check unit contract page integration cores molecule matrix bench lint style repair types \
	prose reading packages ansible-lint sanity docs docs-lint changelog build install galaxy dev server

.DEFAULT_GOAL := help
.PHONY: help clean $(TARGETS)

help: ## print this list
	@sed -n 's/^\([a-z-]*\): ## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done
	@echo 'ARGS="..." goes to the tool behind a target: make unit ARGS="tests/unit/test_x.py -k name -x"'

dev: ## make .venv, with which plain pytest and ansible-playbook work in this checkout
demo: ## see the collection work against a test server, with nothing but Python
test: ## everything, as CI does; as root on Debian it first installs what it needs
packages: ## install the Debian packages that the tests need, as root
check: ## what is quick: style, types, documentation, unit and contract tests
unit: ## the unit tests
contract: ## the client against all kinds of server; INFISICAL_URL=... and credentials add a real one
page: ## the report's page in a real Chromium; screenshots stay in .build/page
integration: ## real playbook runs against the test server
molecule: ## the role on real systemd hosts, as root on Debian; ARGS="-s NAME" for one scenario
cores: ## what depends on the version of ansible-core or on the Python of a host, on all but the usual core
matrix: ## all integration tests on every supported ansible-core; with REQUIRE_ALL=1 none may be missing
bench: ## count requests and measure seconds
lint: ## style and types
style: ## ruff
repair: ## let ruff repair style in the checkout; ARGS="path" for one file
types: ## mypy
prose: ## spelling and plain English; ARGS="check plugins" for other folders
reading: ## a random sample of the prose for a reader; ARGS=SEED
ansible-lint: ## ansible-lint
sanity: ## ansible-test sanity
docs: ## the manual as HTML
docs-lint: ## antsibull-docs lint
changelog: ## check the changelog; ARGS=release writes it
build: ## the collection's artifact
install: ## build the artifact, install it elsewhere, check its files and ansible-doc, run the demo there
galaxy: ## let galaxy-importer and ansible-builder check the artifact
server: ## the test server in the foreground; ARGS="--port 8080 --profile 2026-07"

$(TARGETS):
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is missing: install Python 3.11 or later with its venv module'; exit 1; }
	@$(PYTHON) tests/tools $@ $(ARGS)

clean: ## remove what was built in the checkout; the environments stay in the cache
	rm -rf .build tests/output
