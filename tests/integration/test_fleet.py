# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet report, from hosts with their own vaults to the graph, the table and the answers to questions."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files
from dev_server.client import DevServer
from integration.controller import Controller, Run
from integration.leaks import Canary, leaks, places
from integration.shop import PROFILES, PROJECT

CHECKOUT = Path(str(infisical.__file__)).parents[3]
SECRET = Canary("CanaryFleet4d8e1b")
ASKED = (
    {"query": "type=secret"},
    {"query": "type=secret_project"},
    {"query": f"relation=belongs_to target={PROJECT}"},
    {"question": "rotate", "secret": "SHARED"},
    {"question": "held_by", "secret": "SHARED"},
    {"question": "exposed", "host": "web1"},
    *({"question": question} for question in ("behind", "missing", "late")),
)
HOSTS = ("web1", "web2")

REPORT = """
    - name: told
      ansible.builtin.command: {argv: "{{ told_by }}"}
      environment: "{{ host_environment }}"
      changed_when: false
      register: told
      ignore_errors: true
    - name: cached
      ansible.builtin.set_fact:
        told_before: "{{ told.stdout }}"
        cacheable: true
    - name: report
      keyfleet.infisical.infisical_fleet_report:
        hosts: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars)
          | map(attribute='told.stdout', default=''))) }}"
        graph_file: fleet.json
        csv_file: fleet.csv
        html_file: fleet.html
      run_once: true
"""


class Fleet:
    """Local hosts, each with its own vault that a job fills."""

    def __init__(self, folder: Path, server: DevServer) -> None:
        self.folder = folder
        self.server = server
        self.environment = {"PYTHONPATH": str(CHECKOUT.parents[2]), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
        for host in HOSTS:
            (folder / host).mkdir(mode=0o700)
            (folder / host / "secret").write_text("admin-client-secret", "utf-8")
            (folder / host / "secret").chmod(0o600)
            (folder / host / "job.ini").write_text(
                f"[infisical]\nurl = {server.url}\nclient_id = admin-id\n"
                f"client_secret_file = {folder}/{host}/secret\nconnection_wait = 0.1\n"
                f"[vault]\npath = {folder}/{host}/secrets.vault\nkey_file = {folder}/{host}/key\n"
                f"[sync]\njob = shop\nproject_ids = {PROJECT}\nenvironment = dev\nsecret_path = /fleet\n"
                f"[agent]\nresult_file = {folder}/{host}/result.json\ninterval = 15m\n"
                "[file 1]\npath = /run/shop/env\nnames = SHARED\n",
                "utf-8",
            )
            (folder / host / "job.ini").chmod(0o600)
            self.command(host, "vault", "keygen", "--key-file", str(folder / host / "key"))

    def words(self, host: str, *words: str) -> list[str]:
        command = f"{infisical.__name__}.cli.main"
        return [sys.executable, "-m", command, *words, "--config", f"{self.folder}/{host}/job.ini"]

    def command(self, host: str, *words: str, code: int = 0) -> str:
        ended = subprocess.run(
            self.words(host, *words), capture_output=True, text=True, env=self.environment, check=False
        )
        assert ended.returncode == code, ended.stderr
        return ended.stdout

    def put(self, name: str, value: str) -> None:
        self.server.put_secret(PROJECT, "dev", "/fleet", name, value)

    def variables(self) -> dict[str, dict[str, Any]]:
        return {
            host: {"told_by": self.words(host, "metadata", "--json"), "host_environment": self.environment}
            for host in HOSTS
        }


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory, server: DevServer) -> Fleet:
    """Two hosts that hold the secrets of the server. The values are canaries."""
    made = Fleet(tmp_path_factory.mktemp("hosts"), server)
    for name in ("SHARED", "OTHER"):
        made.put(name, f"{name} {SECRET}")
    for host in HOSTS:
        made.command(host, "sync")
    return made


def reported(ansible: Controller, fleet: Fleet, more: str = "", **options: Any) -> Run:
    return ansible.tasks(REPORT + more, hosts=fleet.variables(), **options).succeeded()


def document(ansible: Controller) -> dict[str, Any]:
    return dict(json.loads((ansible.folder / "fleet.json").read_text("utf-8")))


def table(ansible: Controller) -> list[dict[str, str]]:
    with (ansible.folder / "fleet.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.core
def test_fleet_module_and_filter_return_the_same_rows(ansible: Controller, fleet: Fleet, profile: str) -> None:
    run = reported(
        ansible,
        fleet,
        """
    - name: module
      keyfleet.infisical.infisical_fleet_info: "{{ {'graph_file': 'fleet.json'} | combine(item) }}"
      loop: "{{ asked }}"
      run_once: true
    - name: filter
      ansible.builtin.debug:
        msg: "{{ lookup('ansible.builtin.file', playbook_dir ~ '/fleet.json')
          | keyfleet.infisical.fleet_query(**item) }}"
      loop: "{{ asked }}"
      run_once: true
    - name: filter on data
      ansible.builtin.debug:
        msg: "{{ lookup('ansible.builtin.file', playbook_dir ~ '/fleet.json') | from_json
          | keyfleet.infisical.fleet_query(**item) }}"
      loop: "{{ asked }}"
      run_once: true
    """,
        extra={"asked": ASKED},
    )
    by_module = [item["rows"] for item in run.items("module")]
    assert [item["msg"] for item in run.items("filter")] == by_module
    assert [item["msg"] for item in run.items("filter on data")] == by_module
    secrets, projects, belongs_to, rotate, held_by, exposed, behind, missing, late = by_module
    [job] = json.loads(fleet.command("web1", "metadata", "--json"))["jobs"]
    held = {(name, version) for name, _place, _key, version, _time, _id in job["secrets"]}
    assert held == {("SHARED", 1), ("OTHER", 1)}
    assert {(row["name"], row["version"]) for row in secrets if row["state"] == "held"} == held
    assert projects == [
        {"id": PROJECT, "name": "Shop", "slug": projects[0]["slug"], "service": fleet.server.url,
         "secrets": len(secrets), "vaults": 2}
    ]  # fmt: skip
    assert belongs_to == [{"source": row["id"], "target": PROJECT} for row in secrets]
    assert [(row["host"], row["file"]) for row in rotate] == [("web1", "/run/shop/env"), ("web2", "/run/shop/env")]
    assert [(row["host"], row["state"]) for row in held_by] == [("web1", "current"), ("web2", "current")]
    assert {row["name"]: row["also_on"] for row in exposed} == {"SHARED": ["web2"], "OTHER": ["web2"]}
    assert behind == missing == late == []


def test_report_counts_secrets_that_are_behind_or_missing(ansible: Controller, fleet: Fleet) -> None:
    reported(ansible, fleet)
    fleet.put("OTHER", f"changed {SECRET}")
    fleet.put("NEW", f"new {SECRET}")
    fleet.command("web1", "sync")
    run = reported(ansible, fleet)
    counts = run.result("report")["summary"]
    assert {name: counts[name] for name in ("hosts", "held", "behind", "missing", "gone")} == {
        "hosts": 2, "held": 5, "behind": 1, "missing": 1, "gone": 0
    }  # fmt: skip
    found = {(row["host"], row["name"]): row["state"] for row in table(ansible)}
    assert {key: state for key, state in found.items() if state != "current"} == {
        ("web2", "OTHER"): "behind", ("web2", "NEW"): "missing"
    }  # fmt: skip


def test_check_mode_reports_the_same_without_writing(ansible: Controller, fleet: Fleet) -> None:
    paths = [ansible.folder / name for name in ("fleet.json", "fleet.csv", "fleet.html")]
    # The first task of REPORT must run in check mode too; the report is repeated once for each step.
    collect, report = REPORT.replace("changed_when: false", "changed_when: false\n      check_mode: false").split(
        "    - name: report\n"
    )
    make_readable = """
    - name: chmod
      ansible.builtin.file: {path: "{{ playbook_dir }}/{{ item }}", mode: "0644"}
      loop: [fleet.json, fleet.csv, fleet.html]
      run_once: true
"""

    def states() -> list[bytes | None]:
        return [path.read_bytes() if path.exists() else None for path in paths]

    def changes(steps: Sequence[str], *arguments: str) -> list[bool]:
        tasks = collect
        for step in steps:
            mode = {"check": "      check_mode: true\n", "run": ""}
            tasks += make_readable if step == "chmod" else f"    - name: report\n{report}{mode[step]}"
        before = states()
        run = ansible.tasks(tasks, hosts=fleet.variables(), arguments=arguments).succeeded()
        assert "--check" not in arguments or states() == before
        return [result["changed"] for result in run.results("report") if "changed" in result]

    assert changes(["run"], "--check") == [True]
    assert changes(["run", "check", "run"], "--diff") == [True, False, False]
    assert [oct(path.stat().st_mode & 0o777) for path in paths] == ["0o600"] * 3
    fleet.put("OTHER", "changed")
    assert changes(["run"], "--check") == [True]
    assert changes(["check", "run", "chmod", "check", "run", "run"]) == [True, True, True, True, False]
    assert [oct(path.stat().st_mode & 0o777) for path in paths] == ["0o600"] * 3


def test_run_waits_for_another_run_with_the_same_graph(ansible: Controller, fleet: Fleet) -> None:
    tasks = REPORT.replace(": fleet.", ": made/fleet.")
    graph = ansible.folder / "made" / "fleet.json"
    graph.parent.mkdir(mode=0o755)
    with ThreadPoolExecutor(1) as pool, files.lock_file(f"{graph}.lock", 1):
        running = pool.submit(ansible.tasks, tasks, hosts=fleet.variables())
        with pytest.raises(TimeoutError):
            running.result(6)
        assert not graph.exists()
    running.result().succeeded()
    assert graph.exists()
    assert graph.parent.stat().st_mode & 0o777 == 0o755


def test_missing_output_directory_is_created_private(ansible: Controller, fleet: Fleet) -> None:
    ansible.tasks(REPORT.replace(": fleet.", ": new/fleet."), hosts=fleet.variables()).succeeded()
    assert (ansible.folder / "new").stat().st_mode & 0o777 == 0o700
    assert (ansible.folder / "new" / "fleet.html").exists()


def test_error_writing_the_second_file_reports_the_first(ansible: Controller, fleet: Fleet) -> None:
    (ansible.folder / "fleet.html").mkdir()
    run = ansible.tasks(REPORT, hosts=fleet.variables())
    failure, written = run.failure("report"), str(ansible.folder / "fleet.csv")
    assert failure["changed"] and failure["written"] == [written]
    assert failure["msg"].startswith(f"Written: {written}. ") and "fleet.html cannot be written" in failure["msg"]
    assert os.path.exists(written) and not (ansible.folder / "fleet.json").exists()


def test_query_results_include_problems_with_listings(ansible: Controller, fleet: Fleet, server: DevServer) -> None:
    ask = """
    - name: asked
      keyfleet.infisical.infisical_fleet_info: {graph_file: fleet.json, question: behind}
      run_once: true
    """
    assert reported(ansible, fleet, ask).result("asked")["problems"] == []
    server.arm("status", status=403, error="PermissionDenied", method="GET", path="/secrets", times=None)
    run = reported(ansible, fleet, ask)
    [problem] = run.result("asked")["problems"]
    assert "Describe Secret" in problem
    assert run.result("asked")["rows"] == []
    assert "Infisical did not list everything" in " ".join(run.text.split())
    assert "up to date" not in run.result("report")["headline"]
    server.disarm()
    assert reported(ansible, fleet, ask).result("asked")["problems"] == []


def test_control_characters_from_a_host_are_not_printed(ansible: Controller, fleet: Fleet) -> None:
    told = json.loads(fleet.command("web1", "metadata", "--json"))
    told["jobs"][0]["project_ids"] = ["\x1b[31mRED\x1b]0;title\x07\n[WARNING]: all is well"]
    variables = fleet.variables()
    variables["web1"]["told_by"] = ["echo", json.dumps(told)]
    run = ansible.tasks(REPORT, hosts=variables).succeeded()
    assert "\\x1b[31mRED" in run.result("report")["problems"][0]
    assert not [mark for mark in ("\x1b[31mRED", "\x07") if mark in run.text]
    assert "\n[WARNING]: all is well" not in run.text


def test_diff_contains_only_counts(ansible: Controller, fleet: Fleet) -> None:
    diff = reported(ansible, fleet, arguments=["--diff"]).result("report")["diff"]
    assert diff["before"]["held"] == 0
    assert diff["after"]["held"] == 4
    assert all(isinstance(number, int) for part in diff.values() for number in part.values())


def test_host_with_invalid_metadata_counts_as_silent(ansible: Controller, fleet: Fleet) -> None:
    reported(ansible, fleet)
    before = document(ansible)
    variables = fleet.variables()
    variables["web1"]["told_by"] = ["false"]
    variables["web2"]["told_by"] = ["echo", '{"schema": "keyfleet.infisical/metadata", "version": 1, "jobs": 5}']
    run = ansible.tasks(REPORT, hosts=variables).succeeded()
    assert "Host web2 counts as not responding" in run.result("report")["problems"][0]
    assert "Host web2 counts as not responding" in " ".join(run.text.split())
    for vault, known in zip(document(ansible)["vaults"], before["vaults"], strict=True):
        assert vault == {**known, "silent": True}


def test_hosts_outside_the_run_stay_unless_forget_absent_is_set(ansible: Controller, fleet: Fleet) -> None:
    reported(ansible, fleet)
    reported(ansible, fleet, arguments=["--limit", "web2"])
    assert [vault["host"] for vault in document(ansible)["vaults"]] == ["web1", "web2"]
    forgetting = REPORT.replace("csv_file", "forget_absent_hosts: true\n        csv_file")
    ansible.tasks(forgetting, hosts=fleet.variables(), arguments=["--limit", "web2"]).succeeded()
    assert [vault["host"] for vault in document(ansible)["vaults"]] == ["web2"]


def hashes_of(values: Mapping[str, str]) -> list[bytes]:
    """Hashes of values: of the value itself, and as in the state file."""
    texts = [text for name, value in values.items() for text in (value, f"{name}:{value}")]
    return [hashlib.sha256(text.encode()).hexdigest().encode() for text in texts]


@pytest.mark.parametrize("profile", PROFILES)
def test_no_output_contains_a_value_or_a_hash(
    ansible: Controller, fleet: Fleet, server: DevServer, profile: str
) -> None:
    server.clear_requests()
    run = reported(
        ansible,
        fleet,
        """
    - name: asked
      keyfleet.infisical.infisical_fleet_info: {graph_file: fleet.json, question: held_by, secret: SHARED}
      run_once: true
    """,
        arguments=["-vvvv", "--diff"],
        environment={"ANSIBLE_LOG_PATH": str(ansible.folder / "ansible.log")},
        config="[defaults]\nfact_caching = jsonfile\nfact_caching_connection = ./facts\n",
        watch=True,
    )
    searched = places(ansible, run)
    assert {"fleet.json", "fleet.csv", "fleet.html", "ansible.log"} <= set(searched)
    assert any(name.startswith("facts/") for name in searched)
    assert leaks([SECRET], searched) == {}
    hashes = hashes_of({name: f"{name} {SECRET}" for name in ("SHARED", "OTHER")})
    state = (fleet.folder / "web1" / "infisical_sync_state.json").read_bytes()
    assert [one for one in hashes if one in state], "the search would not find the hashes that there are"
    fingerprints = [entry["hash"].encode() for entry in json.loads(state)["secrets"].values()]
    assert not [place for place, text in searched.items() for one in (*hashes, *fingerprints) if one in text]
    listings = [entry for entry in server.requests("/secrets") if entry["status"] == 200]
    assert listings
    assert {entry["query"]["viewSecretValue"] for entry in listings} == {"false"}
    assert {entry["returned_values"] for entry in listings} == {profile != "2026-07"}


def test_leak_search_finds_a_canary_in_the_graph(ansible: Controller, fleet: Fleet) -> None:
    run = reported(ansible, fleet, watch=True)
    with (ansible.folder / "fleet.json").open("a", encoding="utf-8") as stream:
        stream.write(SECRET.core)
    assert list(leaks([SECRET], places(ansible, run))) == ["fleet.json"]


BAD = {
    "an unknown query": ("infisical_fleet_info: {graph_file: fleet.json, query: type=x}", "must be type=secret, "),
    "an unknown question": ("infisical_fleet_info: {graph_file: fleet.json, question: x}", "must be one of exposed"),
    "no argument": ("infisical_fleet_info: {graph_file: fleet.json, question: exposed}", "host: is required for"),
    "a host in upper case": ("infisical_fleet_info: {graph_file: fleet.json, question: exposed, host: X}", "(got 'X')"),
    "no graph": ("infisical_fleet_info: {graph_file: no.json, query: type=secret}", "does not exist"),
    "no query": ("infisical_fleet_info: {graph_file: fleet.json}", "question: must be set if query is not set"),
    "an unknown option": ("infisical_fleet_info: {graph_file: a, query: b, colour: c}", "colour"),
    "hosts as a list": ("infisical_fleet_report: {graph_file: new.json, hosts: [a]}", "must be a mapping"),
    "a mode for all": ("infisical_fleet_report: {graph_file: new.json, hosts: {}, mode: '0666'}", "mode"),
    "a mode without quotes": (
        "infisical_fleet_report: {graph_file: new.json, hosts: {}, mode: 0640}",
        "a quoted string like",
    ),
    "a mode for nobody": ("infisical_fleet_report: {graph_file: new.json, hosts: {}, mode: '0044'}", "owner can read"),
    "another file": (
        "infisical_fleet_report: {graph_file: play.yml, hosts: {web1: ''}}",
        "play.yml' must be valid JSON",
    ),
    "no hosts": ("infisical_fleet_report: {graph_file: new.json, hosts: {}}", "hosts: must contain at least one host"),
    "no name of a file": ("infisical_fleet_report: {graph_file: '', hosts: {}}", "graph_file: must not be empty"),
    "one file twice": (
        "infisical_fleet_report: {graph_file: a, csv_file: ./a, hosts: {}}",
        "csv_file: must be another",
    ),
    "one file by a link": (
        "infisical_fleet_report: {graph_file: a, html_file: link/a, hosts: {}}",
        "html_file: must be another file than graph_file (got '",
    ),
    "two files beside the graph": (
        "infisical_fleet_report: {graph_file: a, csv_file: b, html_file: link/b, hosts: {}}",
        "html_file: must be another file than csv_file (got '",
    ),
    "the lock": (
        "infisical_fleet_report: {graph_file: a, csv_file: ./a.lock, hosts: {}}",
        "csv_file: must be another file than the lock of graph_file (got '",
    ),
    "a folder that is missing": (
        "infisical_fleet_report: {graph_file: no/no/new.json, hosts: {}}",
        "cannot be created",
    ),
}


def test_invalid_option_error_names_the_option(ansible: Controller, fleet: Fleet) -> None:
    tasks = "".join(
        f"- name: {name}\n  keyfleet.infisical.{task}\n  run_once: true\n  ignore_errors: true\n"
        for name, (task, _said) in BAD.items()
    )
    (ansible.folder / "link").symlink_to(ansible.folder)
    (ansible.folder / "fleet.json").write_text(
        '{"schema": "keyfleet.infisical/fleet", "version": 1, "time": "", "projects": [], "secrets": [], "vaults": [],'
        '"sources": []}'
    )
    run = ansible.tasks(tasks).succeeded()
    for name, (_task, said) in BAD.items():
        failure = run.failure(name)
        assert said in failure["msg"], name
        assert failure["conclusion"] in ("configuration", "storage")


@pytest.mark.core
def test_playbook_reports_unreachable_hosts(ansible: Controller, shop: dict[str, Any]) -> None:
    nowhere = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    playbook = CHECKOUT / "playbooks" / "fleet_report.yml"
    folder = ansible.folder / "report"
    for _twice in range(2):
        ansible.run(
            "ansible-playbook",
            [str(playbook)],
            hosts=dict.fromkeys(HOSTS, nowhere),
            extra={"fleet_report_folder": str(folder)},
        )
        found = json.loads((folder / "graph.json").read_text("utf-8"))
        assert [(vault["host"], vault["silent"]) for vault in found["vaults"]] == [("web1", True), ("web2", True)]
    assert "<html" in (folder / "report.html").read_text("utf-8")
    rows = list(csv.DictReader((folder / "report.csv").open(encoding="utf-8")))
    assert [(row["host"], row["vault_state"]) for row in rows] == [("web1", "silent"), ("web2", "silent")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read the jobs of this machine")
def test_metadata_requires_root(ansible: Controller) -> None:
    run = ansible.tasks("- name: told\n  keyfleet.infisical.infisical_agent_info: {metadata: true}")
    assert "Set become: true" in run.failure("told")["msg"]
