# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup in real playbooks: names, folders, imports, references and exact values."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from dev_server.client import DevServer
from integration.controller import CORE, LOOKUP, Controller
from integration.shop import PROFILES, PROJECT, login_of

EXACT = (
    "{{ 1 + 1 }}", "{% raw %}{{ x }}{% endraw %}", "{# comment #}", "{{ unfinished", '{"a": [1, 2]}', "[1, 2]",
    "['a', 'b']", "{'a': 1}", "(1, 2)", "1.10", "0123", "12", "1e3", "0x1F", "1_000", "-0", "true", "True", "no",
    "null", "None", "~", "nan", "", "@file", "!vault x", "it's \"quoted\" \\ back", "two\nlines\n", "a\r\nb", "\ttab",
    " blanks ", "ünïcödé ✓", "\u00a0nbsp\u00a0", "\ufeffbom", "\x01control\x7f", "a: b", "- a", "%(x)s ${HOME} $(id)",
)  # fmt: skip
"""Values that Jinja, YAML, JSON, Python or a shell would convert."""


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.core
def test_names_return_a_list_and_no_names_return_a_mapping(ansible: Controller, profile: str) -> None:
    run = ansible.tasks(f"""
        - name: order
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'DB_USER', 'DB_PASSWORD', secret_path='/app') }}}}"}}
        - name: list of names
          ansible.builtin.debug:
            msg: "{{{{ query('{LOOKUP}', ['DB_PASSWORD', 'DB_USER', 'DB_PASSWORD'], secret_path='/app/') }}}}"
        - name: one
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_7') }}}}"}}
        - name: mapping
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', secret_path='/app') }}}}"}}
        - name: each by itself
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'SECRET_1', 'SECRET_2', fetch='one') }}}}"}}
        - name: loop
          ansible.builtin.debug: {{msg: "{{{{ item.key }}}} is {{{{ item.value }}}}"}}
          loop: "{{{{ lookup('{LOOKUP}', secret_path='/app') | dict2items }}}}"
    """).succeeded()

    assert run.result("order")["msg"] == ["shop", "seeded password"]
    assert run.result("list of names")["msg"] == ["seeded password", "shop", "seeded password"]
    assert run.result("one")["msg"] == "value 7"
    assert run.result("mapping")["msg"] == {"DB_PASSWORD": "seeded password", "DB_USER": "shop"}
    assert run.result("each by itself")["msg"] == ["value 1", "value 2"]
    assert [item["msg"] for item in run.items("loop")] == ["DB_PASSWORD is seeded password", "DB_USER is shop"]


def test_login_can_be_read_with_another_login(ansible: Controller, seeded: Callable[..., None]) -> None:
    login = login_of("admin")
    secrets = {"ID": login["infisical_client_id"], "SECRET": login["infisical_client_secret"]}
    seeded(secrets=[{"environment": "dev", "path": "/login", "key": key, "value": secrets[key]} for key in secrets])
    read = "lookup('{}', '{}', secret_path='/login', client_id='{}', client_secret='{}')"
    each = {
        f"infisical_client_{key.lower()}": "{{ " + read.format(LOOKUP, key, secrets["ID"], secrets["SECRET"]) + " }}"
        for key in secrets
    }
    run = ansible.tasks(
        f"""
        - name: read
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'DB_PASSWORD', secret_path='/app') }}}}"}}
        """,
        variables={**ansible.variables, **each},
    ).succeeded()
    assert run.result("read")["msg"] == "seeded password"


@pytest.mark.parametrize("profile", PROFILES)
def test_lookup_supports_recursion_imports_and_references(
    ansible: Controller, seeded: Callable[..., None], profile: str
) -> None:
    seeded(
        secrets=[
            {"environment": "dev", "path": "/app/deep", "key": "DEEP", "value": "from below"},
            {"environment": "dev", "path": "/app/deep", "key": "DB_USER", "value": "another"},
            {"environment": "dev", "path": "/same/a", "key": "TWICE", "value": "equal"},
            {"environment": "dev", "path": "/same/b", "key": "TWICE", "value": "equal"},
            {"environment": "dev", "path": "/shared", "key": "IMPORTED", "value": "first import"},
            {"environment": "dev", "path": "/shared", "key": "DB_USER", "value": "hidden by the folder's own"},
            {"environment": "prod", "path": "/shared", "key": "IMPORTED", "value": "last import"},
            {"environment": "dev", "path": "/app", "key": "REFERENCE", "value": "${DB_USER}@db"},
        ],
        imports=[
            {"environment": "dev", "path": "/app", "from_environment": "dev", "from_path": "/shared"},
            {"environment": "dev", "path": "/app", "from_environment": "prod", "from_path": "/shared"},
        ],
    )
    run = ansible.tasks(f"""
        - name: below
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'TWICE', secret_path='/same', recursive=true) }}}}"}}
        - name: ambiguous
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'DB_USER', secret_path='/app', recursive=true) }}}}"}}
          ignore_errors: true
        - name: not ambiguous itself
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'DEEP', secret_path='/app', recursive=true) }}}}"}}
        - name: all
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', secret_path='/app', recursive=true) }}}}"}}
          ignore_errors: true
        - name: imports
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'IMPORTED', 'DB_USER', secret_path='/app') }}}}"}}
        - name: no imports
          ansible.builtin.debug:
            msg: "{{{{ query('{LOOKUP}', 'IMPORTED', secret_path='/app', include_imports=false, default='none') }}}}"
        - name: as stored
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'REFERENCE', secret_path='/app') }}}}"}}
        - name: expanded
          ansible.builtin.debug:
            msg: "{{{{ lookup('{LOOKUP}', 'REFERENCE', secret_path='/app', expand_references=true) }}}}"
    """).succeeded()

    assert run.result("below")["msg"] == "equal"
    for task in ("ambiguous", "all"):
        assert "'DB_USER' has different values in /app and /app/deep" in run.failure(task)["msg"]
    assert run.result("not ambiguous itself")["msg"] == "from below"
    assert run.result("imports")["msg"] == ["last import", "shop"]
    assert run.result("no imports")["msg"] == ["none"]
    assert run.result("as stored")["msg"] == "${DB_USER}@db"
    assert run.result("expanded")["msg"] == "shop@db"


@pytest.mark.parametrize("fetch", ["list", "one"])
def test_unresolved_reference_prints_a_warning(ansible: Controller, server: DevServer, fetch: str) -> None:
    server.use_profile("2026-10")
    for name in ("BROKEN_1", "BROKEN_2"):
        server.put_secret(PROJECT, "dev", "/app", name, "${NONE}")
    names = f"'BROKEN_1', 'BROKEN_2', 'BROKEN_1', fetch='{fetch}', secret_path='/app', expand_references=true"
    run = ansible.tasks(f"""
        - name: lookup
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', {names}) }}}}"}}
    """).succeeded()
    assert run.result("lookup")["msg"] == ["${NONE}"] * 3
    warned = re.findall(r"still contain a reference[^:]*: ([\w, ]+)", " ".join(run.text.split()))
    assert warned == {"list": ["BROKEN_1, BROKEN_2"], "one": ["BROKEN_1", "BROKEN_2"]}[fetch]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.core
def test_missing_name_is_handled_by_on_missing_and_default(ansible: Controller, profile: str) -> None:
    run = ansible.tasks(f"""
        - name: error
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'NOT_THERE') }}}}"}}
          ignore_errors: true
        - name: error by itself
          ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'NOT_THERE', fetch='one') }}}}"}}
          ignore_errors: true
        - name: warn
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'NOT_WARNED', 'SECRET_1', on_missing='warn') }}}}"}}
        - name: skip
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'SECRET_1', 'NOT_SKIPPED', on_missing='skip') }}}}"}}
        - name: default
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'SECRET_1', 'NOT_THERE', default='1.10') }}}}"}}
        - name: empty default
          ansible.builtin.debug: {{msg: "{{{{ query('{LOOKUP}', 'NOT_THERE', default='') }}}}"}}
    """).succeeded()

    for name in ("error", "error by itself"):
        assert "'NOT_THERE' does not exist in project shop-project, environment dev, path /" in run.failure(name)["msg"]
    assert run.result("warn")["msg"] == ["value 1"]
    assert "NOT_WARNED" in run.text
    assert run.result("skip")["msg"] == ["value 1"]
    assert "NOT_SKIPPED" not in run.text.replace("TASK", "")
    assert run.result("default")["msg"] == ["value 1", "1.10"]
    assert run.result("empty default")["msg"] == [""]


SEPARATOR = "\n=====\n"
THROUGH_COPY = ("{{ 1 + 1 }}", '{"a": [1, 2]}', "[1, 2]", "1.10", "true", "null", "", "\ufeffbom", "two\nlines\n")
"""A few of these values, because each of them needs a run of a module."""
MADE_BOOLEAN = ("true", "false", "yes", "no")
"""Strings that set_fact in ansible-core 2.18 always converts to booleans."""


@pytest.mark.parametrize("native", ("false", "true"))
@pytest.mark.core
def test_lookup_returns_exact_values(ansible: Controller, server: DevServer, native: str) -> None:
    if native == "true" and CORE >= (2, 19):
        pytest.skip("from ansible-core 2.19 on, templates are always native")
    for number, value in enumerate(EXACT):
        server.put_secret("shop-project", "dev", "/exact", f"V{number}", value)
    one = f"lookup('{LOOKUP}', 'V' ~ number, secret_path='/exact')"
    template = f"{{% for number in range({len(EXACT)}) %}}{{{{ {one} }}}}{SEPARATOR}{{% endfor %}}"
    (ansible.folder / "all.j2").write_text(template, "utf-8")

    run = ansible.tasks(
        f"""
        - name: template
          ansible.builtin.template: {{src: all.j2, dest: "{{{{ playbook_dir }}}}/all", mode: "0600"}}
        - name: copy
          ansible.builtin.copy: {{content: "{{{{ {one} }}}}", dest: "{{{{ playbook_dir }}}}/copy_{{{{ number }}}}"}}
          loop: {[EXACT.index(value) for value in THROUGH_COPY]}
          loop_control: {{loop_var: number}}
        - name: argument
          ansible.builtin.debug: {{msg: "{{{{ {one} }}}}"}}
          loop: &all {list(range(len(EXACT)))}
          loop_control: {{loop_var: number}}
        - name: in a text
          ansible.builtin.debug: {{msg: "<{{{{ {one} }}}}>"}}
          loop: *all
          loop_control: {{loop_var: number}}
        - name: set_fact
          ansible.builtin.set_fact: {{fact: "{{{{ {one} }}}}"}}
          loop: *all
          loop_control: {{loop_var: number}}
        - name: all at once
          ansible.builtin.set_fact:
            mapping: "{{{{ lookup('{LOOKUP}', secret_path='/exact') }}}}"
            some: "{{{{ query('{LOOKUP}', 'V0', 'V4', 'V9', secret_path='/exact') }}}}"
        - name: variable
          ansible.builtin.debug: {{msg: "{{{{ from_variable }}}}"}}
          loop: *all
          loop_control: {{loop_var: number}}
          vars: {{from_variable: "{{{{ {one} }}}}"}}
    """,
        environment={"ANSIBLE_JINJA2_NATIVE": native},
    ).succeeded()

    exact = list(EXACT)
    assert (ansible.folder / "all").read_bytes().decode("utf-8").split(SEPARATOR) == [*exact, ""]
    copied = [(ansible.folder / f"copy_{EXACT.index(value)}").read_bytes().decode("utf-8") for value in THROUGH_COPY]
    assert copied == list(THROUGH_COPY)
    assert [item["msg"] for item in run.items("argument")] == exact
    assert [item["msg"] for item in run.items("in a text")] == [f"<{value}>" for value in EXACT]
    facts = run.result("all at once")["ansible_facts"]
    assert facts["mapping"] == {f"V{number}": value for number, value in enumerate(EXACT)}
    assert facts["some"] == [EXACT[0], EXACT[4], EXACT[9]]
    assert [item["msg"] for item in run.items("variable")] == exact
    made_boolean = MADE_BOOLEAN if CORE < (2, 19) and native == "false" else ()
    fixed = [value.lower() in ("true", "yes") if value.lower() in made_boolean else value for value in EXACT]
    assert [item["ansible_facts"]["fact"] for item in run.items("set_fact")] == fixed
