# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The commands for developers; tests/tools/targets.py defines what each of them runs.

PYTHON ?= python3
ARGS ?=
TARGETS = demo test check unit contract page integration cores molecule matrix bench lint style repair types \
	prose reading packages ansible-lint sanity docs docs-lint changelog build install galaxy dev server

.DEFAULT_GOAL := help
.PHONY: help clean $(TARGETS)

help: ## print this list
	@sed -n 's/^\([a-z-]*\): ## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done
	@echo 'ARGS="..." passes options to the tool behind a target: make unit ARGS="tests/unit/test_x.py -k name -x"'

dev: ## make .venv for plain pytest and ansible-playbook in this checkout
demo: ## run the demo against the test server; needs only Python
test: ## run all steps of CI; as root on Debian, first install the packages they need
packages: ## install the Debian packages for the tests, as root
check: ## run the quick steps: style, types, prose, documentation, unit and contract tests
unit: ## unit tests
contract: ## test the client with all kinds of test server; INFISICAL_URL=... and credentials add a real server
page: ## test the report's page in a real Chromium; screenshots are in .build/page
integration: ## run real playbooks against the test server
molecule: ## test the role on real systemd hosts, as root on Debian; ARGS="-s NAME" for one scenario
cores: ## tests that depend on ansible-core or a host's Python, on the versions that integration leaves out
matrix: ## all integration tests on every supported ansible-core; REQUIRE_ALL=1 fails if one is missing
bench: ## count requests and measure times; ARGS="--only lookups" for one topic, "--publish" updates the manual
lint: ## style and types
style: ## ruff
repair: ## fix the style with ruff; ARGS="path" for one file
types: ## mypy
prose: ## check spelling and plain English; ARGS="check plugins" for other folders
reading: ## print a random sample of the prose for a blind reading; ARGS=SEED
ansible-lint: ## ansible-lint
sanity: ## ansible-test sanity
docs: ## build the manual as HTML
docs-lint: ## antsibull-docs lint
changelog: ## check the changelog; ARGS=release writes it
build: ## build the collection's artifact
install: ## build the artifact, install it into a temporary folder, check it, run the demo there
galaxy: ## check the artifact with galaxy-importer and ansible-builder
server: ## run the test server in the foreground; ARGS="--port 8080 --profile 2026-07"

$(TARGETS):
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is missing: install Python 3.11 or later with its venv module'; exit 1; }
	@$(PYTHON) tests/tools $@ $(ARGS)

clean: ## remove build output from the checkout; keep the cached environments
	rm -rf .build tests/output
