# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx builds the manual as HTML (make docs)."""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

project = "keyfleet.infisical"
copyright = "2026, keyfleet.infisical contributors"
title = html_short_title = "keyfleet.infisical"
extensions = ["sphinx_antsibull_ext"]
highlight_language = "YAML+Jinja"
pygments_style = "ansible"
html_theme = "sphinx_ansible_theme"
html_show_sphinx = False
html_copy_source = False
html_use_index = False
nitpicky = True
default_role = "any"

# The pages of Ansible's own manual that plugins refer to. An inventory of it would be downloaded in every
# build; the manual builds without a network instead.
ANSIBLE_MANUAL = "https://docs.ansible.com/ansible/latest"
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action",
    "ansible_configuration_settings": "reference_appendices/config",
    "common_return_values": "reference_appendices/common_return_values",
}
BUILTIN = "ansible_collections.ansible.builtin."


def refer_to_ansible(
    app: Sphinx, environment: BuildEnvironment, reference: pending_xref, shown: nodes.TextElement
) -> nodes.reference | None:
    """Return a link to Ansible's own manual for a label that is defined there, else None."""
    label = reference.get("reftarget", "")
    page = ANSIBLE_PAGES.get(label)
    if label.startswith(BUILTIN):
        page = f"collections/ansible/builtin/{label[len(BUILTIN) :]}"
    if page is None:
        return None
    return nodes.reference("", "", shown, internal=False, refuri=f"{ANSIBLE_MANUAL}/{page}.html")


def setup(app: Sphinx) -> None:
    """Register what this file adds to Sphinx."""
    app.connect("missing-reference", refer_to_ansible)
