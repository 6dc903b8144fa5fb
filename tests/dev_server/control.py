# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control interface for tests: seeds, state, log, faults, clock and profile. It needs no token."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .faults import FAULT_FIELDS
from .profiles import PROFILES
from .seed import Node, SeedError, add_trust
from .seed import put_secret as seed_secret
from .store import Folder, Project

if TYPE_CHECKING:
    from .app import Server

PREFIX = "/_control"


def list_requests(server: Server, node: Node) -> dict[str, Any]:
    return {"requests": [entry.show() for entry in server.log]}


def clear_requests(server: Server, node: Node) -> dict[str, Any]:
    server.log.clear()
    return {}


def load_seed(server: Server, node: Node) -> dict[str, Any]:
    server.load(node.value)
    return {}


def reset(server: Server, node: Node) -> dict[str, Any]:
    server.load(server.seed)
    return {}


def show_state(server: Server, node: Node) -> dict[str, Any]:
    store, directory = server.world.store, server.world.directory
    return {
        "profile": server.profile.name,
        "now": server.clock(),
        "projects": [show_project(project) for project in store.projects.values()],
        "approvals": [
            {
                "id": approval.id,
                "project": approval.project,
                "environment": approval.environment,
                "path": approval.path,
                "change": approval.change,
                "keys": approval.keys,
            }
            for approval in store.approvals
        ],
        "identities": [
            {
                "id": identity.id,
                "name": identity.name,
                "client_id": identity.client_id,
                "logins": identity.logins,
                "project": identity.project,
                "bad_secrets": sum(method.bad_secrets for method in identity.methods.values()),
                "locked": any(method.locked_until > server.clock() for method in identity.methods.values()),
            }
            for identity in directory.identities.values()
        ],
        "tokens": [
            {"identity": token.identity.name, "created": token.created, "uses": token.uses, "revoked": token.revoked}
            for token in directory.tokens.values()
        ],
    }


def show_project(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "slug": project.slug,
        "tags": [{"id": tag.id, "slug": tag.slug, "name": tag.name} for tag in project.tags],
        "environments": [
            {
                "slug": environment.slug,
                "name": environment.name,
                "protected_paths": environment.protected_paths,
                "folders": [show_folder(folder) for folder in environment.folders.values()],
            }
            for environment in project.environments.values()
        ],
    }


def show_folder(folder: Folder) -> dict[str, Any]:
    return {
        "path": folder.path,
        "id": folder.id,
        "imports": [{"environment": link.environment, "path": link.path} for link in folder.imports],
        "secrets": [
            {
                "id": secret.id,
                "key": secret.key,
                "value": secret.value,
                "version": secret.version,
                "comment": secret.comment,
                "tags": [tag.slug for tag in secret.tags],
                "metadata": [
                    {"key": item.key, "value": item.value, "isEncrypted": item.encrypted} for item in secret.metadata
                ],
                "skip_multiline_encoding": secret.skip_multiline_encoding,
                "rotated": secret.rotated,
            }
            for secret in folder.secrets
        ],
    }


def put_secret(server: Server, node: Node) -> dict[str, Any]:
    """Store a secret without the API. With `repeat`, add it even if the name exists."""
    node.fields(FAULT_FIELDS["write_first"])
    project = find_project(server, node)
    seed_secret(node, project, server.clock(), replace=node.get("repeat").value is not True)
    return {}


def drop_secret(server: Server, node: Node) -> dict[str, Any]:
    node.fields(FAULT_FIELDS["delete_first"])
    project = find_project(server, node)
    environment = node.known("environment", project.environments, "environment")
    folder = project.find_folder(environment, node.path("path", "/"))
    return {"deleted": len(folder.drop([node.filled("key")])) if folder else 0}


def delete_environment(server: Server, node: Node) -> dict[str, Any]:
    """Delete an environment. With `cached`, lists still return its secrets until a call without `cached`."""
    project = find_project(server, node.fields("project environment cached"))
    slug = node.known("environment", {**project.environments, **project.cached}, "environment")
    gone = project.environments.pop(slug, None) or project.cached[slug]
    project.cached.pop(slug, None)
    if node.flag("cached"):
        project.cached[slug] = gone
    return {}


def find_project(server: Server, node: Node) -> Project:
    projects = server.world.store.projects
    return projects[node.known("project", projects, "project")]


def arm_fault(server: Server, node: Node) -> dict[str, Any]:
    return server.faults.arm(node).show()


def list_faults(server: Server, node: Node) -> dict[str, Any]:
    return {"faults": [fault.show() for fault in server.faults.armed if fault.left != 0]}


def disarm_faults(server: Server, node: Node) -> dict[str, Any]:
    server.faults.disarm()
    return {}


def move_clock(server: Server, node: Node) -> dict[str, Any]:
    advance = node.fields("advance").get("advance")
    if not isinstance(advance.value, (int, float)) or isinstance(advance.value, bool) or advance.value < 0:
        raise advance.fail("must be a number of seconds, 0 or more")
    server.clock.ahead += advance.value
    return {"now": server.clock()}


def trust(server: Server, node: Node) -> dict[str, Any]:
    add_trust(node.fields("issuer_keys aws ldap_users"), server.world.directory.trust)
    return {}


def list_living_tokens(server: Server, node: Node) -> dict[str, Any]:
    """List the tokens that the server still accepts."""
    return {
        "tokens": [
            {
                "identity": token.identity.name,
                "method": token.method.name,
                "created": token.created,
                "uses": token.uses,
                "client_secret": token.client_secret.id if token.client_secret else None,
            }
            for token in server.world.directory.living()
        ]
    }


def revoke_tokens(server: Server, node: Node) -> dict[str, Any]:
    return {"revoked": server.world.directory.revoke_all()}


def show_profile(server: Server, node: Node) -> dict[str, Any]:
    return {"profile": server.profile.name}


def use_profile(server: Server, node: Node) -> dict[str, Any]:
    server.profile = PROFILES[node.fields("profile").known("profile", PROFILES, "profile")]
    return {"profile": server.profile.name}


ROUTES: Mapping[tuple[str, str], Callable[[Server, Node], dict[str, Any]]] = {
    ("GET", "/requests"): list_requests,
    ("DELETE", "/requests"): clear_requests,
    ("POST", "/seed"): load_seed,
    ("POST", "/reset"): reset,
    ("GET", "/state"): show_state,
    ("PUT", "/secret"): put_secret,
    ("DELETE", "/secret"): drop_secret,
    ("POST", "/delete-environment"): delete_environment,
    ("POST", "/faults"): arm_fault,
    ("GET", "/faults"): list_faults,
    ("DELETE", "/faults"): disarm_faults,
    ("POST", "/clock"): move_clock,
    ("POST", "/trust"): trust,
    ("GET", "/tokens"): list_living_tokens,
    ("POST", "/tokens/revoke"): revoke_tokens,
    ("GET", "/profile"): show_profile,
    ("POST", "/profile"): use_profile,
}


def serve(server: Server, method: str, raw_path: str, body: bytes) -> web.Response:
    """Respond to a control request with status 200, or with status 404 or 400 and a message in `error`."""
    handler = ROUTES.get((method, raw_path.removeprefix(PREFIX)))
    if handler is None:
        known = ", ".join(f"{verb} {PREFIX}{path}" for verb, path in ROUTES)
        return server.render(404, {"error": f"unknown control request (known: {known})"}, {})
    try:
        document = json.loads(body) if body else {}
    except ValueError as error:
        return server.render(400, {"error": f"the body is not JSON: {error}"}, {})
    try:
        return server.render(200, handler(server, Node(document)), {})
    except SeedError as error:
        return server.render(400, {"error": str(error)}, {})
