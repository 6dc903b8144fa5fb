# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata of a host: all its jobs in one document, in any state, and no value."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import (
    config,
    held_identity,
    report,
    spec,
    units,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.held_identity import read_note
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli import main as cli
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files, systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.plan import build
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import parse_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.version import VERSION
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet import host_metadata as metadata
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.documents import parse_host
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.held import (
    NOTHING,
    HeldIdentity,
    parse_held,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault import session as local
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.keys import KeyFile, make_key_file
from unit.programs import Programs

CANARY = "Canary9d31c7"
SYNCED = "2026-01-15T10:00:00Z"


@dataclass
class Jobs:
    """The jobs of an agent, in a folder in place of the host's own."""

    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "key"

    def add(self, job: str, text: str = "", **sync: str) -> Path:
        """A job's configuration; the path of its vault."""
        state = self.folder / job
        state.mkdir(mode=0o700)
        options = "".join(f"{name} = {value}\n" for name, value in sync.items())
        path = self.folder / "jobs" / f"{job}.ini"
        path.write_text(
            f"[infisical]\nurl = https://infisical.example.com/api\n[vault]\npath = {state}/secrets.vault\n"
            f"key_file = {self.key}\n[sync]\njob = {job}\nenvironment = prod\n{options}"
            f"[agent]\nresult_file = {state}/result.json\n{text}",
            "utf-8",
        )
        path.chmod(0o600)
        return state / "secrets.vault"

    def fill(self, vault: Path, *secrets: Secret, job: str) -> None:
        opened = local.open_vault(str(vault), KeyFile(str(self.key)))[0]
        with opened.writing(create=True) as draft:
            wanted = {secret.comment or secret.key: secret._replace(comment=None) for secret in secrets}
            draft.apply(build({}, wanted), job=job)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    (tmp_path / "jobs").mkdir()
    monkeypatch.setattr(config, "JOBS", str(tmp_path / "jobs"))
    monkeypatch.setattr(cli, "JOBS", str(tmp_path / "jobs"))
    for name in ("INFISICAL_CONFIG", "INFISICAL_VAULT_PATH", "INFISICAL_KEY_FILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    made = Jobs(tmp_path)
    make_key_file(str(made.key))
    return made


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that writes the note about the identity on this machine."""
    for name in ("MACHINE_ID", "INSTALLED_MACHINE_ID"):
        path = tmp_path / name.partition("_")[0].lower()
        path.write_text("a" * 32)
        monkeypatch.setattr(systemd, name, str(path))
    path = tmp_path / "identity.json"
    monkeypatch.setattr(held_identity, "note_file", lambda: str(path))

    def write(text: str) -> None:
        path.write_text(text)

    return write


def document_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["metadata", "--json", *words]) == cli.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    parse_host(found, SYNCED)
    return found


def test_metadata_has_names_versions_and_times_of_all_jobs(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    shop = jobs.add("shop", "interval = 6h\n[file 1]\npath = /run/shop/env\nnames = DB_*\n", project_ids="p1, p2",
                    secret_path="/shop/", recursive="true", key_format="{path}_{key}")  # fmt: skip
    jobs.add("mail", project_ids="p1")
    jobs.fill(
        shop,
        Secret("DB", CANARY, 3, "id", "/shop", "prod", project_id="p1"),
        Secret("key", CANARY, 1, "id", "/shop/a", "prod", project_id="p2", comment="OTHER"),
        job="shop",
    )
    report.write(str(shop.parent / "result.json"),
                 report.CycleReport(job="shop", ended=SYNCED, conclusion="forbidden", problem="No."))  # fmt: skip
    found = document_of(capsys)
    assert (found["schema"], found["version"], found["agent"]) == ("keyfleet.infisical/metadata", 1, VERSION)
    mail, one = found["jobs"]
    assert (mail["job"], mail["secrets"], mail["last_sync"], mail["conclusion"], mail["problem"]) == (
        "mail", [], None, "", None
    )  # fmt: skip
    rows = one.pop("secrets")
    assert [(name, one["places"][place], key, version, id_) for name, place, key, version, _time, id_ in rows] == [
        ("DB", ["p1", "prod", "/shop"], None, 3, "id"),
        ("OTHER", ["p2", "prod", "/shop/a"], "key", 1, "id"),
    ]
    assert all(parse_time(row[4]) for row in rows)
    del one["places"]
    assert one == {
        "job": "shop", "service": "https://infisical.example.com", "project_ids": ["p1", "p2"], "environment": "prod",
        "secret_path": "/shop", "recursive": True, "key_format": "{path}_{key}", "normalize_names": False,
        "interval_minutes": 360, "last_sync": None, "environment_checked": None,
        "ended": SYNCED, "conclusion": "forbidden", "message": "No.",
        "generation": 1, "problem": None,
        "files": [{"path": "/run/shop/env", "format": "dotenv", "owner": "root", "names": ["DB_*"]}],
    }  # fmt: skip
    assert CANARY not in json.dumps(found) + json.dumps(rows)


def test_metadata_command_prints_one_line_per_job(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.fill(jobs.add("shop"), Secret("DB", CANARY, project_id="p1"), job="shop")
    jobs.add("mail")
    assert [job["job"] for job in document_of(capsys, "--job", "shop")["jobs"]] == ["shop"]
    assert cli.main(["metadata"]) == cli.OK
    assert capsys.readouterr().out.splitlines() == [
        "mail: 0 secrets (generation 0), last sync never",
        "shop: 1 secret (generation 1), last sync never",
    ]


def test_unreadable_job_has_a_problem_and_other_jobs_are_listed(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.fill(jobs.add("good"), Secret("DB", "x", project_id="p1"), job="good")
    jobs.add("broken", "colour = red\n")
    damaged = jobs.add("damaged")
    jobs.fill(damaged, Secret("DB", "x", project_id="p1"), job="damaged")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    strange = jobs.add("strange", "[file 1]\npath = relative\n")
    jobs.fill(strange, Secret("DB", "x", project_id="p1"), job="strange")
    found = {job["job"]: job for job in document_of(capsys)["jobs"]}
    assert set(found) == {"good", "broken", "damaged", "strange"}
    assert (found["good"]["problem"], len(found["good"]["secrets"])) == (None, 1)
    assert "colour" in found["broken"]["problem"]
    assert "damaged" in found["damaged"]["problem"]
    assert found["damaged"]["environment"] == "prod"
    assert "absolute path" in found["strange"]["problem"]


def test_unexpected_error_of_one_job_does_not_hide_other_jobs(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good", "odd"):
        jobs.fill(jobs.add(name), Secret("DB", "x", project_id="p1"), job=name)
    of_job = metadata.of_job

    def fail(job: str, *rest: Any) -> dict[str, Any]:
        if job == "odd":
            raise RuntimeError("Canary9d31c7")
        return of_job(job, *rest)

    monkeypatch.setattr(metadata, "of_job", fail)
    good, odd = document_of(capsys)["jobs"]
    assert (good["job"], good["problem"], len(good["secrets"])) == ("good", None, 1)
    assert odd["job"] == "odd" and "Unexpected RuntimeError" in odd["problem"] and "Canary" not in odd["problem"]


def test_lost_key_is_reported_as_the_jobs_problem(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.fill(jobs.add("shop"), Secret("DB", CANARY, project_id="p1"), job="shop")
    jobs.key.unlink()
    [job] = document_of(capsys)["jobs"]
    assert (job["secrets"], bool(job["problem"])) == ([], True)


def test_entries_of_other_jobs_and_manual_entries_are_omitted(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    vault = jobs.add("shop")
    jobs.fill(vault, Secret("DB", "x", project_id="p1"), job="shop")
    jobs.fill(vault, Secret("THEIRS", "x", project_id="p1"), job="other")
    local.put(*local.open_vault(str(vault), KeyFile(str(jobs.key))), "BY_HAND", "x")
    assert [row[0] for row in document_of(capsys)["jobs"][0]["secrets"]] == ["DB"]


def test_project_ids_all_returns_the_projects_of_the_last_sync(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    vault = jobs.add("shop", project_ids="all")
    _vault, state = local.open_vault(str(vault), KeyFile(str(jobs.key)))
    state.update(project_ids=["p7", "p8"], last_sync=SYNCED, environment_checked=SYNCED)
    [job] = document_of(capsys)["jobs"]
    assert (job["project_ids"], job["last_sync"], job["conclusion"]) == (["p7", "p8"], SYNCED, "ok")
    assert job["environment_checked"] == SYNCED


def test_failure_without_a_report_comes_from_the_state_file(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    vault = jobs.add("shop")
    _vault, state = local.open_vault(str(vault), KeyFile(str(jobs.key)))
    state.record_error("No way.", SYNCED)
    [job] = document_of(capsys)["jobs"]
    assert (job["conclusion"], job["message"], job["ended"]) == ("failed", "No way.", SYNCED)


def test_job_file_contains_the_interval(tmp_path: Path) -> None:
    job = spec.Job("shop", 360, {"environment": "prod"})
    context = units.UnitContext("", dict.fromkeys(config.CREDENTIALS, "/x"), False)
    text = spec.render_job(job, spec.Agent(Settings(url="https://x"), (job,)), context)
    path = tmp_path / "job.ini"
    files.write_atomic(str(path), text.encode())
    assert config.SyncConfig({}, {}, str(path)).get(("agent", "interval")) == "6h"


def test_metadata_command_ignores_the_environment(
    jobs: Jobs, programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs.add("shop")
    jobs.add("mail")
    program = tmp_path / "infisical-sync"
    program.write_text(f'#!/bin/sh\necho "$@ $INFISICAL_KEY_FILE" >>{tmp_path}/calls\necho \'{{"jobs":[1]}}\'\n')
    program.chmod(0o755)
    monkeypatch.setattr(units, "COMMAND", str(program))
    monkeypatch.setenv("INFISICAL_KEY_FILE", "elsewhere")
    assert metadata.of_host() == '{"jobs":[1]}'
    assert (tmp_path / "calls").read_text() == "metadata --json \n"
    program.write_text("#!/bin/sh\necho no JSON\n")
    with pytest.raises(InfisicalError, match="did not print the metadata"):
        metadata.of_host()


def test_host_without_jobs_has_an_empty_document(jobs: Jobs) -> None:
    assert json.loads(metadata.of_host())["jobs"] == []


def test_metadata_contains_the_identity_of_the_agent(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], note: Callable[[str], None]
) -> None:
    jobs.add("shop")
    note(HeldIdentity("identity", "client", "secret-id", 1_776_249_000, "universal_auth").as_note())
    found = document_of(capsys)
    assert found["identity"] == {
        "identity_id": "identity", "client_id": "client", "auth_method": "universal_auth",
        "expires_at": "2026-04-15T10:30:00Z",
    }  # fmt: skip
    assert parse_host(found, SYNCED).identity == HeldIdentity(
        "identity", "client", expires_at=1_776_249_000, auth_method="universal_auth"
    )


def test_document_of_an_older_agent_has_no_identity(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    found = document_of(capsys)
    del found["identity"]
    assert parse_host(found, SYNCED).identity == NOTHING


@pytest.mark.parametrize(
    "change",
    [
        {"identity_id": "a b"},
        {"identity_id": "a" * 129},
        {"client_id": None},
        {"client_secret_id": ["x"]},
        {"auth_method": "magic"},
        {"expires_at": -1},
        {"expires_at": True},
        {"expires_at": 1e12},
        {"public_key": "-----BEGIN PUBLIC KEY-----\n" + "A" * 5000},
        {"public_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
    ],
)
def test_invalid_field_of_a_hosts_identity_discards_the_identity(change: dict[str, Any]) -> None:
    pem = "-----BEGIN PUBLIC KEY-----\n" + "MIIB" * 16 + "\nAQ==\n-----END PUBLIC KEY-----\n"
    good = HeldIdentity("identity", "client", "secret-id", 1_776_249_000, "jwt_auth", pem)
    assert parse_held(good._asdict()) == good
    assert parse_held({**good._asdict(), **change}) == NOTHING


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{" * 5000])
def test_damaged_note_about_the_identity_is_ignored(note: Callable[[str], None], text: str) -> None:
    note(text)
    assert read_note() == NOTHING


def test_note_from_another_machine_is_ignored(note: Callable[[str], None], tmp_path: Path) -> None:
    note(HeldIdentity("identity").as_note())
    assert read_note() == HeldIdentity("identity")
    (tmp_path / "installed").write_text("b" * 32)
    assert read_note() == NOTHING


def test_status_shows_the_login_of_the_agent(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], note: Callable[[str], None]
) -> None:
    jobs.add("shop")
    note(HeldIdentity("identity", "client", "secret-id", 1_776_249_000, "universal_auth").as_note())
    assert cli.main(["status"]) == cli.OK
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines == [
        "login:       universal_auth, identity identity",
        "             the client secret expires at 2026-04-15T10:30:00Z",
    ]
