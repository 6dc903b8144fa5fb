# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of an agent job: sections, delivered files, and the list of jobs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import config
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.config import SyncConfig
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.deliver import File
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import BY_PLACE, OPTIONS

JOB = """
[sync]
job = shop
[agent]
result_file = /run/infisical-agent/shop/result.json
login_file = /var/lib/infisical-sync/login.json
rate_limit_jitter = 12.5
[deliver]
record_file = /var/lib/infisical-deliver/shop.json
runtime_directory = /run/infisical-sync/shop
metrics_directory = /var/lib/node
[notify]
state_file = /var/lib/infisical-sync/shop/notify.json
command = tell --to 'all of us' 100%
reminder = 3600
[file 2]
path = /srv/b
format = files
[file 1]
path = /srv//a/../a.env
owner = shop
group = www
mode = 0440
names = DB_*, FLAG ,
allow = PATH
reload = a.service,b.service
restart = c.service
"""


def written(folder: Path, text: str, mode: int = 0o600) -> SyncConfig:
    path = folder / "job.ini"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return SyncConfig({}, {}, str(path))


def refused(folder: Path, text: str, mode: int = 0o600) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        written(folder, text, mode).get_files()
    assert "CANARY" not in str(caught.value)
    return caught.value


def test_every_section_of_a_job_file_is_read(tmp_path: Path) -> None:
    settled = written(tmp_path, JOB, 0o640)
    assert settled.get_section("agent") == {
        "result_file": "/run/infisical-agent/shop/result.json", "login_file": "/var/lib/infisical-sync/login.json",
        "rate_limit_jitter": 12.5,
    }  # fmt: skip
    assert settled.get_section("notify")["command"] == "tell --to 'all of us' 100%"
    assert settled.get_section("notify")["reminder"] == 3600
    assert settled.get_section("deliver")["runtime_directory"] == "/run/infisical-sync/shop"


def test_files_of_a_job_keep_their_order_and_get_defaults(tmp_path: Path) -> None:
    assert written(tmp_path, JOB).get_files() == [
        File("/srv/b", "files"),
        File("/srv/a.env", "dotenv", "shop", "www", 0o440, ("DB_*", "FLAG"), ("PATH",), ("a.service", "b.service"),
             ("c.service",)),
    ]  # fmt: skip


def test_file_section_supports_every_field_of_a_file() -> None:
    assert File._fields == tuple(option.name for option in OPTIONS if option.section == "file")


def test_job_without_files_is_accepted(tmp_path: Path) -> None:
    assert written(tmp_path, "[sync]\njob = shop\n").get_files() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[file 1]\nformat = json\n", "must be absolute"),
        ("[file 1]\npath = app.env\n", "path in [file 1] must be an absolute path"),
        ("[file 1]\npath = /srv/a\nmode = rw\n", "mode: must be an octal number (in [file 1] of "),
        ("[file 1]\npath = /srv/a\nmode = 0999\n", "mode: must be an octal number (in [file 1] of "),
        ("[file 1]\npath = /srv/a\nmode = 0666\n", "everybody write"),
        ("[file 1]\npath = /srv/a\nformat = yaml\n", "must be one of dotenv, env_file, json, files"),
        ("[file 1]\npath = /srv/a\nreload = app\n", "not a unit name"),
        ("[file 1]\npath = /srv/a\ncontent = CANARY\n", "unknown key 'content' in [file 1]"),
        ("[files]\npath = /srv/a\n", "unknown section [files]"),
        ("[agent]\nresult_file = result.json\n", "result_file in [agent] must be an absolute path"),
        ("[agent]\nno_such = CANARY\n", "unknown key 'no_such' in [agent]"),
        ("[notify]\nwebhook_url\n", "line 2 is invalid"),
        ("[vault]\nlock_wait = 5\n  passphrase = CANARY\n", "below 'lock_wait' in [vault] is indented"),
        ("[vault]\nkey_credential = key\n\n  # more\n\tpassphrase: CANARY\n", "below 'key_credential' in [vault]"),
        ("[vault]\nkey_credential = key\n  [infisical]\n", "below 'key_credential' in [vault]"),
        ("[sync]\nproject_ids = a,\n b\n prune = true\n", "below 'project_ids' in [sync]"),
        ("[sync]\nproject_ids = a,\n [vault]\n", "below 'project_ids' in [sync]"),
        ("[file 1]\npath = /srv/a\n mode = 0440\n", "below 'path' in [file 1]"),
        ("[file 1]\npath = /srv/a\nnames = A\n mode = 0440\n", "below 'names' in [file 1]"),
    ],
)
def test_job_file_error_names_the_section_and_option(tmp_path: Path, text: str, words: str) -> None:
    assert words in str(refused(tmp_path, text))


@pytest.mark.parametrize(
    ("place", "text"),
    [(("agent", "rate_limit_jitter"), "soon"), (("notify", "reminder"), "daily"), (("notify", "reminder"), "nan")],
)
def test_invalid_number_error_names_the_option(tmp_path: Path, place: tuple[str, str], text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a number") as caught:
        written(tmp_path, f"[{place[0]}]\n{place[1]} = {text}\n").get(place)
    assert caught.value.option == place[1]


def test_list_or_command_can_continue_on_an_indented_line(tmp_path: Path) -> None:
    settled = written(tmp_path, "[sync]\nproject_ids = a,\n  b\n[notify]\ncommand = tell\n  --to=us\n")
    assert settled.get(("sync", "project_ids")) == ("a", "b")
    assert settled.get(("notify", "command")).split() == ["tell", "--to=us"]


@pytest.mark.parametrize("content", ["", " \n", "one\ntwo\n"])
def test_credential_file_without_exactly_one_line_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content, "utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="must contain only the credential, on one line"):
        config.read_credential(str(path), "client_secret_file", {})


def test_byte_order_mark_in_a_credential_file_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\ufeffs3cret\n", "utf-8")
    path.chmod(0o600)
    assert config.read_credential(str(path), "client_secret_file", {}) == "s3cret"


def test_webhook_url_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    text = "[notify]\nwebhook_url = https://hooks.example.com/CANARY\n"
    assert "contains webhook_url" in str(refused(tmp_path, text, 0o640))
    assert written(tmp_path, text).get(("notify", "webhook_url")) == "https://hooks.example.com/CANARY"


@pytest.mark.root
def test_job_file_that_another_user_owns_or_can_write_is_refused(tmp_path: Path) -> None:
    assert "Others can write to" in str(refused(tmp_path, JOB, 0o660))
    os.chown(tmp_path / "job.ini", 65534, 0)
    with pytest.raises(ConfigurationError, match="belongs to user 65534"):
        SyncConfig({}, {}, str(tmp_path / "job.ini"))


def test_webhook_url_can_come_from_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "infisical_webhook_url").write_text("https://hooks.example.com/CANARY\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    settled = SyncConfig({}, environ, "/dev/null")
    assert settled.get(("notify", "webhook_url_file")) == str(tmp_path / "infisical_webhook_url")


@pytest.mark.parametrize("empty", ["", " "])
def test_empty_environment_variable_is_ignored(tmp_path: Path, empty: str) -> None:
    path = tmp_path / "config.ini"
    path.write_text("[infisical]\nclient_id = file\ntimeout = 5\nproxy =\n", "utf-8")
    names = ("INFISICAL_CLIENT_ID", "INFISICAL_TIMEOUT", "INFISICAL_VALIDATE_CERTS", "INFISICAL_CONFIG")
    settled = SyncConfig({}, dict.fromkeys(names, empty), str(path))
    assert settled.get_section("infisical") == {"client_id": "file", "timeout": 5.0}
    vendors = {"INFISICAL_CLIENT_ID": empty, "INFISICAL_UNIVERSAL_AUTH_CLIENT_ID": "vendor's"}
    assert SyncConfig({}, vendors, os.devnull).get(("infisical", "client_id")) == "vendor's"


def test_agent_options_have_no_argument_or_variable() -> None:
    own = [option for option in OPTIONS if option.section in ("agent", "deliver", "notify")]
    assert own and not [option.name for option in own if option.long or option.environment]


def test_only_job_files_are_listed_as_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "JOBS", str(tmp_path / "jobs"))
    assert config.list_jobs() == []
    (tmp_path / "jobs").mkdir()
    for name in ("till.ini", "shop.2.ini", "notes.txt", "shop.ini~"):
        (tmp_path / "jobs" / name).touch()
    assert config.list_jobs() == ["shop.2", "till"]
    assert config.job_file("till") == str(tmp_path / "jobs" / "till.ini")


@pytest.mark.parametrize("kind", ["pipe", "directory"])
def test_job_that_is_a_pipe_or_directory_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(config, "JOBS", str(tmp_path))
    (os.mkfifo if kind == "pipe" else os.mkdir)(tmp_path / "x.ini")
    assert config.list_jobs() == ["x"]
    refused: list[ConfigurationError] = []

    def read() -> None:
        with pytest.raises(ConfigurationError, match=r"x\.ini' cannot be read: it is not a regular file") as caught:
            SyncConfig({}, {}, config.job_file("x"))
        refused.append(caught.value)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert refused


def test_explicit_configuration_file_can_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("[sync]\njob = shop\n",))
    writer.start()
    assert SyncConfig({}, {}, str(tmp_path / "pipe")).get(("sync", "job")) == "shop"
    writer.join()


# Which place wins


AMBIENT = {
    option.environment[0]: "true" if option.type == "bool" else "1" if option.type == "float" else "/ambient"
    for option in OPTIONS
    if option.environment and not option.choices
}  # fmt: skip


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of job files, which contains the job shop."""
    folder = tmp_path / "etc" / "jobs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(config, "JOBS", str(folder))
    (folder / "shop.ini").write_text(
        "[infisical]\nclient_id_file = /client/id\n[sync]\njob = shop\nenvironment = dev\n"
    )
    return folder


@pytest.mark.parametrize(
    "spelling", ["{}/shop.ini", "{}/../jobs//./shop.ini", "relative", "link to file", "link to folder"]
)
def test_installed_job_ignores_the_environment(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.chdir(jobs)
    (tmp_path / "mine.ini").symlink_to(jobs / "shop.ini")
    (tmp_path / "mine").symlink_to(jobs)
    links = {
        "relative": "shop.ini",
        "link to file": f"{tmp_path}/mine.ini",
        "link to folder": f"{tmp_path}/mine/shop.ini",
    }
    path = links.get(spelling, spelling.format(jobs))
    alone = SyncConfig({}, {}, path)
    for found in (SyncConfig({}, AMBIENT, path), SyncConfig({}, {**AMBIENT, "INFISICAL_CONFIG": path})):
        for section in ("infisical", "vault", "sync", "agent", "deliver", "notify"):
            assert found.get_section(section) == alone.get_section(section), section
    assert SyncConfig({("infisical", "environment"): "qa"}, AMBIENT, path).get(("infisical", "environment")) == "qa"


def test_default_file_that_links_to_a_job_is_an_installed_job(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "usual.ini").symlink_to(jobs / "shop.ini")
    monkeypatch.setattr(config, "CONFIG_FILES", (str(tmp_path / "usual.ini"),))
    assert SyncConfig({}, AMBIENT).get_section("infisical") == {"client_id_file": "/client/id"}


def test_job_file_that_is_a_symbolic_link_is_an_installed_job(jobs: Path, tmp_path: Path) -> None:
    (jobs / "shop.ini").rename(tmp_path / "checkout.ini")
    (jobs / "shop.ini").symlink_to(tmp_path / "checkout.ini")
    assert config.find_job(str(jobs / "shop.ini")) == "shop"
    assert SyncConfig({}, AMBIENT, str(jobs / "shop.ini")).get_section("infisical") == {"client_id_file": "/client/id"}


def test_job_uses_only_its_own_services_credentials(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "SERVICES_CREDENTIALS", str(tmp_path))
    found = {}
    elsewhere = "elsewhere/infisical-sync@shop.service"
    for unit in ("infisical-sync@shop.service", "infisical-sync@till.service", "other.service", elsewhere):
        (tmp_path / unit).mkdir(parents=True)
        (tmp_path / unit / "infisical_client_id").write_text("x")
        environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / unit)}
        found[unit] = SyncConfig({}, environ, str(jobs / "shop.ini")).get(("infisical", "client_id_file"))
    assert found == {
        "infisical-sync@shop.service": f"{tmp_path}/infisical-sync@shop.service/infisical_client_id",
        "infisical-sync@till.service": "/client/id",
        "other.service": "/client/id",
        elsewhere: "/client/id",
    }


def test_named_file_overrides_environment_and_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.ini"
    path.write_text("[infisical]\nenvironment = dev\n[vault]\npassphrase_file = /from/file\n")
    path.chmod(0o600)
    environ = {"INFISICAL_ENVIRONMENT": "prod", "INFISICAL_KEY_FILE": "/ambient", "INFISICAL_URL": "http://ambient"}
    names = ("key_file", "passphrase_file")
    named = SyncConfig({}, environ, str(path))
    assert named.get(("infisical", "environment")) == "dev"
    assert named.get_group("vault", names) == {"passphrase_file": "/from/file"}
    assert named.get(("infisical", "url")) == "http://ambient"
    given = {("infisical", "environment"): "qa"}
    assert SyncConfig(given, environ, str(path)).get(("infisical", "environment")) == "qa"
    monkeypatch.setattr(config, "CONFIG_FILES", (str(path),))
    for less in (SyncConfig({}, environ), SyncConfig({}, {**environ, "INFISICAL_CONFIG": str(path)})):
        assert less.get(("infisical", "environment")) == "prod"
        assert less.get_group("vault", names) == {"key_file": "/ambient"}


ARGUMENTS, NAMED, ENVIRONMENT, VARIABLE, USUAL = "arguments", "--config", "environment", "INFISICAL_CONFIG", "usual"


class Places:
    """The options of a call, by source: {source: {(section, name): text}}."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch

    def settled(self, **places: dict[tuple[str, str], str]) -> SyncConfig:
        self._monkeypatch.setattr(config, "CONFIG_FILES", (str(self._folder / USUAL),))
        environ = {BY_PLACE[at].environment[0]: text for at, text in places.get(ENVIRONMENT, {}).items()}
        for place in (NAMED, VARIABLE, USUAL):
            path = self._folder / place
            path.write_text("".join(f"[{at[0]}]\n{at[1]} = {text}\n" for at, text in places.get(place, {}).items()))
            path.chmod(0o600)
        if VARIABLE in places:
            environ["INFISICAL_CONFIG"] = str(self._folder / VARIABLE)
        return SyncConfig(places.get(ARGUMENTS, {}), environ, str(self._folder / NAMED) if NAMED in places else "")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    return Places(tmp_path, monkeypatch)


# A call reads one file only.
PAIRS = [(one, other) for one in (ARGUMENTS, NAMED, ENVIRONMENT, VARIABLE, USUAL)
         for other in (ARGUMENTS, NAMED, ENVIRONMENT, VARIABLE, USUAL)
         if one != other and len({one, other} & {NAMED, VARIABLE, USUAL}) < 2]  # fmt: skip


@pytest.mark.parametrize(("identity", "method"), PAIRS)
def test_only_an_explicit_identity_overrides_auth_method(places: Places, identity: str, method: str) -> None:
    settled = places.settled(
        **{identity: {("infisical", "client_id"): "id"}, method: {("infisical", "auth_method"): "token"}}
    )
    by_identity = identity == ARGUMENTS or (identity, method) == (NAMED, ENVIRONMENT)
    options = settled.get_server_options("sync")
    assert (options["auth_method"], options["client_id"]) == (None if by_identity else "token", "id")


@pytest.mark.parametrize("section", ["sync", "push"])
@pytest.mark.parametrize(("specific", "general"), PAIRS)
def test_specific_option_overrides_a_general_one(places: Places, specific: str, general: str, section: str) -> None:
    settled = places.settled(
        **{specific: {(section, "environment"): "dev"}, general: {("infisical", "environment"): "prod"}}
    )
    explicit = general == ARGUMENTS or (specific, general) == (ENVIRONMENT, NAMED)
    assert settled.get_server_options(section)["environment"] == ("prod" if explicit else "dev")


@pytest.mark.parametrize("source", [ARGUMENTS, NAMED])
def test_explicit_identity_excludes_another_identity(places: Places, source: str) -> None:
    other = {("infisical", name): "other" for name in ("client_id", "client_secret", "token", "identity_id", "jwt")}
    settled = places.settled(**{source: {("infisical", "identity_id"): "ours"}, ENVIRONMENT: other})
    options = settled.get_server_options("sync")
    login = {name: options[name] for name in ("client_id", "client_secret", "token", "identity_id", "jwt")}
    assert login == {"client_id": None, "client_secret": None, "token": None, "identity_id": "ours", "jwt": "other"}
    ambient = places.settled(**{ENVIRONMENT: other}).get_server_options("sync")
    assert (ambient["client_id"], ambient["identity_id"]) == ("other", "other")


def test_first_source_of_a_token_determines_it(places: Places) -> None:
    path, key = ("infisical", "jwt_path"), ("infisical", "jwt_key_file")
    for given, found in (
        ({ARGUMENTS: {path: "/jwt"}, ENVIRONMENT: {("infisical", "jwt"): "other"}}, (None, "/jwt", None)),
        ({ENVIRONMENT: {("infisical", "jwt"): "ours"}, USUAL: {path: "/jwt"}}, ("ours", None, None)),
        ({ENVIRONMENT: {path: "/jwt", key: "/key"}, USUAL: {("infisical", "jwt"): "other"}}, (None, "/jwt", "/key")),
    ):
        options = places.settled(**given).get_server_options("sync")
        assert tuple(options[name] for name in ("jwt", "jwt_path", "jwt_key_file")) == found


def test_password_is_read_from_its_file(places: Places, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("CANARY\n")
    (tmp_path / "password").chmod(0o600)
    given = {("infisical", "password_file"): str(tmp_path / "password")}
    options = places.settled(**{ARGUMENTS: given}).get_server_options("sync")
    assert options["password"] == "CANARY" and "password_file" not in options
    (tmp_path / "password").chmod(0o640)
    with pytest.raises(ConfigurationError, match="password_file"):
        places.settled(**{ARGUMENTS: given}).get_server_options("sync")


def test_environment_accepts_the_names_of_infisicals_tools(places: Places) -> None:
    method = ("infisical", "auth_method")
    assert places.settled(**{ENVIRONMENT: {method: "aws-iam"}}).get(method) == "aws_auth"
    with pytest.raises(ConfigurationError, match=r"auth_method: must be one of .*, spiffe_auth \(got 'aws-iam'\)\."):
        places.settled(**{ARGUMENTS: {method: "aws-iam"}}).get(method)
    with pytest.raises(ConfigurationError, match=r"auth_method: must be one of .*, spiffe_auth\."):
        places.settled(**{ARGUMENTS: {method: "v4CANARY"}}).get(method)


@pytest.mark.parametrize(
    ("variable", "method"),
    [
        ("INFISICAL_OIDC_AUTH_JWT", "oidc_auth"), ("INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", "kubernetes_auth")
    ],
)  # fmt: skip
def test_variable_of_another_login_method_is_ignored(variable: str, method: str) -> None:
    for chosen in (method, "spiffe_auth", "universal_auth"):
        environ = {variable: "/x", "INFISICAL_AUTH_METHOD": chosen}
        options = SyncConfig({}, environ, "/dev/null").get_server_options("sync")
        given = {options.get("jwt"), options.get("jwt_path")}
        assert given == ({"/x", None} if chosen == method else {None})
