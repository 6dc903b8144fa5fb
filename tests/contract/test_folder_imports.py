# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the imports of folders, and the number of requests for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import IdentityApi
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.imports import FolderImports
from contract.targets import Controlled
from dev_server.client import DevServer

pytestmark = pytest.mark.kinds("2026-07")

ENVIRONMENTS = ("prod", "stage", "plain")
IMPORTS = {
    ("prod", "/app"): ("prod", "/common"),
    ("prod", "/app/x"): ("stage", "/base"),
    ("prod", "/db"): ("prod", "/common"),
    ("stage", "/base"): ("plain", "/deep"),
    ("prod", "/circle"): ("prod", "/circle"),
}
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "p",
            "name": "P",
            "slug": "p",
            "environments": [{"slug": slug, "name": slug} for slug in ENVIRONMENTS],
            "folders": [
                {"environment": environment, "path": path}
                for environment, path in {*IMPORTS, *IMPORTS.values(), ("prod", "/none"), ("plain", "/none")}
            ],
            "imports": [
                {"environment": environment, "path": path, "from_environment": other, "from_path": imported}
                for (environment, path), (other, imported) in IMPORTS.items()
            ],
        }
    ],
    "identities": [{"name": "a", "client_id": "a", "client_secret": "s", "permissions": {"p": "admin"}}],
}


@pytest.fixture
def server(controlled: Controlled) -> DevServer:
    controlled.server.seed(SEED)
    return controlled.server


@pytest.fixture
def imports(server: DevServer) -> Iterator[FolderImports]:
    stored: dict[tuple[str, ...], Any] = {}

    def once(name: tuple[str, ...], fetch: Callable[[], Any]) -> Any:
        if name not in stored:
            stored[name] = fetch()
        return stored[name]

    with connect(Settings(url=server.url, client_id="a", client_secret="s", project_id="p")) as api:
        api.tokens.current()
        server.clear_requests()
        yield FolderImports(IdentityApi(api), "p", once)


def place(path: str, environment: str = "prod") -> Location:
    return Location("p", environment, path)


def test_summary_includes_other_environments(imports: FolderImports, server: DevServer) -> None:
    assert imports.summarize(["prod"]) == {
        "prod": [["prod", "/circle"], ["prod", "/common"], ["prod", "/common"], ["stage", "/base"]],
        "stage": [["plain", "/deep"]],
        "plain": [],
    }
    assert imports.summarize(["plain"]) == {"plain": []}
    assert imports.summarize([]) == {}
    assert len(server.requests()) == len(ENVIRONMENTS)


def test_indirect_imports_are_followed(imports: FolderImports, server: DevServer) -> None:
    assert imports.follow(place("/app"), False) == [place("/common")]
    assert imports.follow(place("/app/x"), False) == [place("/base", "stage"), place("/deep", "plain")]
    assert set(imports.follow(place("/app"), True)) == {
        place("/common"), place("/base", "stage"), place("/deep", "plain")
    }  # fmt: skip
    assert imports.follow(place("/circle"), False) == [place("/circle")]
    assert imports.follow(place("/none"), False) == []
    # A list of each environment, a list of the tree below /app, and the imports of six folders.
    assert len(server.requests()) == 3 + 1 + 6


def test_environment_without_imports_needs_one_request(imports: FolderImports, server: DevServer) -> None:
    assert not imports.follow(place("/none", "plain"), False)
    assert not imports.follow(place("/deep", "plain"), False)
    assert len(server.requests()) == 1


@pytest.mark.parametrize(
    ("environment", "path", "problem"),
    [
        ("prod", "/app/x", ""),
        ("prod", "/", ""),
        ("prod", "/nope", "Folder '/nope' does not exist in environment 'prod' of project p."),
        ("nope", "/app", "Project p has no environment 'nope'."),
    ],
)
def test_missing_folder_is_a_problem(imports: FolderImports, environment: str, path: str, problem: str) -> None:
    found = imports.find_problem(environment, path)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)
    assert imports.follow(Location("p", environment, path), True) is not None


def test_imports_are_read_without_values(imports: FolderImports, server: DevServer) -> None:
    server.put_secret("p", "prod", "/app", "A", "canary")
    imports.follow(place("/app"), True)
    assert {one["query"]["viewSecretValue"] for one in server.requests("/api/v4/secrets")} == {"false"}
