# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of each target of the Makefile, and their environments."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import artifact
import development
import galaxy as galaxy_tools
import interpreters
from environments import Environment, environment
from failure import Failure
from machine import prepare
from scenarios import check_machine, run_molecule
from staging import BUILD, CHECKOUT, stage
from steps import run_steps

REQUIREMENTS = CHECKOUT / "requirements"
TOOLS = Path("tests", "tools")
# Variables of the caller that would affect the tests.
FOREIGN_VARIABLES = ("ANSIBLE_", "INFISICAL_", "PYTEST_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
# The Python versions of a controller for each supported ansible-core, the preferred version first.
CORES = {
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.13", "3.12", "3.14"),
}
# On this ansible-core, `make cores` runs modules in separate processes, as on other hosts.
CORE_OF_PROCESSES = "2.20"
# All targets except matrix and cores use the first of these versions with a Python on this machine.
MAIN_CORES = ("2.19", "2.21")
TOOLS_PYTHON = ("3.11", "3.12", "3.13", "3.14")
OLDEST_MODULE_PYTHON = "3.9"

Arguments = list[str]

# Run tests on all processor cores.
PARALLEL = ["-n", "auto", "--dist", "worksteal"]
ALL_INTEGRATION = [*PARALLEL, "tests/integration"]


def _main_core() -> str:
    """Return the ansible-core version ("2.19") of all targets except matrix and cores."""
    for core in MAIN_CORES:
        if interpreters.find_first(CORES[core]):
            return core
    raise _missing(TOOLS_PYTHON)


def _newest_core() -> str:
    """Return the newest ansible-core version with a Python on this machine."""
    return [core for core, versions in CORES.items() if interpreters.find_first(versions)][-1]


def _controller() -> Environment:
    """Return the environment of tests, playbooks and the demo."""
    return _on_core(_main_core())


def _on_core(core: str) -> Environment:
    return _on(f"ansible-core-{core}.txt", CORES[core])


def _tools(name: str) -> Environment:
    """Return the environment of a development tool."""
    return _on(f"{name}.txt", TOOLS_PYTHON)


def _on(requirements: str, versions: tuple[str, ...]) -> Environment:
    return environment(REQUIREMENTS / requirements, _python(versions))


def _python(versions: tuple[str, ...]) -> interpreters.Interpreter:
    found = interpreters.find_first(versions)
    if not found:
        raise _missing(versions)
    return found


def _missing(versions: tuple[str, ...]) -> Failure:
    return Failure(
        f"Python {' or '.join(versions)} is missing: install one with its venv module, or with pyenv install"
    )


def _variables(used: Environment, staged: Path, **more: str) -> dict[str, str]:
    """Return the environment variables of a tool, without the caller's settings of Ansible and Infisical."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    collections = staged.parents[2]
    kept["PATH"] = os.pathsep.join([str(used.folder / "bin"), kept.get("PATH", os.defpath)])
    kept["PYTHONPATH"] = os.pathsep.join([str(collections), str(staged / "tests")])
    kept["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    return {**kept, **more}


def _run(command: Sequence[object], folder: Path, variables: dict[str, str]) -> None:
    with subprocess.Popen([str(word) for word in command], cwd=folder, env=variables) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # the tool got Ctrl-C too, and may still clean up
            raise
    if status:
        tool = " ".join(Path(str(word)).name for word in command[:3])
        raise Failure(f"{tool} … ended with {status}; see its output above")


def _pytest(used: Environment, folder: str, arguments: Arguments, **more: str) -> None:
    """Run the tests of a folder. Modules run with the Python of the tests unless `more` names another.

    Without this, Ansible would choose the newest Python on PATH, which lacks the libraries or does not start.
    """
    staged = stage()
    more = {"KEYFLEET_MODULE_PYTHON": str(used.python), **more}
    if not (staged / folder).is_dir():
        print(f"{folder} does not exist: nothing to run")
        return
    cache = f"cache_dir={BUILD / 'pytest'}"
    # A short path, because ansible-core 2.21 puts a socket below it, whose path can have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="kf-") as room:
        command = [used.python, "-m", "pytest", "-o", cache, "--basetemp", f"{room}/t", *(arguments or [folder])]
        _run(command, staged, _variables(used, staged, **more))


def _script(path: str, arguments: Arguments, used: Environment | None = None) -> None:
    """Run a program of the collection with the Python of the controller, or of another environment."""
    used, staged = used or _controller(), stage()
    if not (staged / path).exists():
        raise Failure(f"{path} does not exist")
    _run([used.python, path, *arguments], staged, _variables(used, staged))


def demo(arguments: Arguments) -> None:
    _script("tests/demo/demo.py", ["--folder", str(BUILD / "demo"), *arguments])


def server(arguments: Arguments) -> None:
    _script("tests/dev_server", arguments)


def bench(arguments: Arguments) -> None:
    """Measure; compare with another collection only if `--rival` names its checkout, because its library is large."""
    has_rival = any(word.partition("=")[0] == "--rival" for word in arguments)
    used = _on("bench-rival.txt", CORES["2.19"]) if has_rival else _controller()
    output = ["--json", str(BUILD / "bench.json"), "--docs", str(CHECKOUT / "docs")]
    _script("tests/bench/bench.py", [*output, *arguments], used)


def molecule(arguments: Arguments) -> None:
    check_machine()
    if not arguments:
        _pytest(_controller(), "tests/systemd", [])
    used, staged = _tools("molecule"), stage()
    run_molecule(used.tool("molecule"), staged, _variables(used, staged), arguments)


def unit(arguments: Arguments) -> None:
    _pytest(_controller(), "tests/unit", arguments or [*PARALLEL, "tests/unit"])


def integration(arguments: Arguments) -> None:
    _integration(_controller(), arguments)


def _integration(used: Environment, arguments: Arguments, **more: str) -> None:
    _pytest(used, "tests/integration", arguments or ALL_INTEGRATION, **more)


def page(arguments: Arguments) -> None:
    """Test the report's page in the machine's Chromium and keep screenshots."""
    all_tests = [*PARALLEL, "tests/page"]
    _pytest(_tools("page"), "tests/page", arguments or all_tests, KEYFLEET_BUILD=str(BUILD))


def contract(arguments: Arguments) -> None:
    real_server = {name: value for name, value in os.environ.items() if name.startswith("INFISICAL_")}
    # Run serially against a real server, which has a rate limit and locks out frequent logins.
    all_tests = [] if real_server else [*PARALLEL, "tests/contract"]
    _pytest(_controller(), "tests/contract", arguments or all_tests, **real_server)


def style(arguments: Arguments) -> None:
    used, staged = _tools("lint"), stage()
    variables = _variables(used, staged, RUFF_CACHE_DIR=str(BUILD / "ruff"))
    _run([used.tool("ruff"), "check", *arguments], staged, variables)
    _run([used.tool("ruff"), "format", "--check", *arguments], staged, variables)


def repair(arguments: Arguments) -> None:
    """Let ruff repair the style in the checkout itself."""
    used = _tools("lint")
    variables = _variables(used, stage(), RUFF_CACHE_DIR=str(BUILD / "ruff"))
    _run([used.tool("ruff"), "check", "--fix-only", *arguments], CHECKOUT, variables)
    _run([used.tool("ruff"), "format", *arguments], CHECKOUT, variables)


def types(arguments: Arguments) -> None:
    used, staged = _tools("lint"), stage()
    variables = _variables(used, staged, MYPY_CACHE_DIR=str(BUILD / "mypy"))
    # Each of these trees has another root for its imports.
    names_of_tests = ["--follow-imports=silent", "--implicit-reexport"]
    plugins = ["--package", "ansible_collections.keyfleet.infisical.plugins"]
    for path, files in (
        (f"{staged.parents[2]}", plugins),
        ("tests", ["tests/dev_server"]),
        (f"{staged.parents[2]}:tests:{TOOLS}", [*names_of_tests, "tests/unit", "tests/contract"]),
        # tests/hosts imports modules of tests/tools.
        (f"{TOOLS}:tests", ["tests/tools", "tests/hosts"]),
    ):
        _run([used.tool("mypy"), *files, *arguments], staged, {**variables, "MYPYPATH": path})


def prose(arguments: Arguments) -> None:
    """Check spelling and wording; without arguments, in the folders that are clean."""
    _tool_of_lint("prose.py", arguments or ["check"])


def reading(arguments: Arguments) -> None:
    """Print a sample of the prose for a reader; the argument is the seed."""
    _tool_of_lint("reading.py", arguments)


def _tool_of_lint(name: str, arguments: Arguments) -> None:
    used, staged = _tools("lint"), stage()
    _run([used.python, TOOLS / name, *arguments], staged, _variables(used, staged))


def ansible_lint(arguments: Arguments) -> None:
    used, staged = _tools("ansible-lint"), stage()
    _run([used.tool("ansible-lint"), "--offline", *arguments], staged, _variables(used, staged))


def docs_lint(arguments: Arguments) -> None:
    used, staged = _tools("docs"), stage()
    checks = ["--plugin-docs", "--validate-collection-refs=all", "--disallow-unknown-collection-refs", *arguments]
    _run([used.tool("antsibull-docs"), "lint-collection-docs", *checks, "."], staged, _variables(used, staged))


def changelog(arguments: Arguments) -> None:
    used, staged = _tools("docs"), stage()
    tool, variables = used.tool("antsibull-changelog"), _variables(used, staged)
    if arguments:
        # These commands write into the checkout.
        _run([tool, *arguments], CHECKOUT, variables)
        return
    _run([tool, "lint"], staged, variables)
    _run([tool, "lint-changelog-yaml", "changelogs/changelog.yaml"], staged, variables)


def docs(arguments: Arguments) -> None:
    used, staged = _tools("docs"), stage()
    variables = _variables(used, staged)
    sources, pages = BUILD / "docs" / "rst", BUILD / "docs" / "html"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    collection = ["--use-current", "--squash-hierarchy", "--dest-dir", sources, "keyfleet.infisical"]
    _run([used.tool("antsibull-docs"), "collection", "--fail-on-error", *collection], staged, variables)
    # antsibull-docs copies the guides without their images.
    for image in (staged / "docs" / "docsite" / "rst").glob("*.svg"):
        shutil.copy(image, sources / "docsite")
    configuration = ["-c", staged / "docs" / "docsite"]
    options = ["-n", "-W", "--keep-going", "-q", "-b", "html", *arguments]
    _run([used.tool("sphinx-build"), *options, *configuration, sources, pages], staged, variables)
    print(f"The manual is in {pages}: open {pages / 'index.html'}")


def sanity(arguments: Arguments) -> None:
    _sanity(_on_core(_newest_core()), arguments)


def _sanity(used: Environment, arguments: Arguments) -> None:
    staged = stage()
    _place_pip_bootstrap(used, staged)
    variables = _variables(used, staged)
    # ansible-test makes virtual environments from the Python on PATH, which must not be in an environment itself.
    variables["PATH"] = os.pathsep.join([str(used.interpreter.executable.parent), variables["PATH"]])
    del variables["PYTHONPATH"]
    options = ["--venv", "--python", used.interpreter.version, "--color", "no"]
    _run([used.tool("ansible-test"), "sanity", *options, *arguments], staged, variables)


def _place_pip_bootstrap(used: Environment, staged: Path) -> None:
    """Put our bootstrap script of pip into the download cache of ansible-test, unless the cache has one."""
    question = (
        "import types, ansible_test._internal.python_requirements as r;"
        f"print(r.get_venv_packages(types.SimpleNamespace(version='{used.interpreter.version}'))['pip'])"
    )
    answer = subprocess.run([used.python, "-c", question], capture_output=True, text=True, check=True)
    name = f"get_pip_{answer.stdout.strip().replace('.', '_')}.py"
    cached = Path.home() / ".ansible" / "test" / "cache" / name
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(staged / "tests" / "tools" / "pip_bootstrap.py", cached)


def build(arguments: Arguments) -> None:
    print(f"The collection's artifact is {artifact_of(stage(), BUILD / 'artifact')}")


def artifact_of(staged: Path, folder: Path) -> Path:
    """Build the collection's artifact into a folder and return its path."""
    used = _controller()
    shutil.rmtree(folder, ignore_errors=True)
    command = [used.tool("ansible-galaxy"), "collection", "build", "--output-path", folder]
    _run(command, staged, _variables(used, staged))
    return next(folder.glob("*.tar.gz"))


def install(arguments: Arguments) -> None:
    """Build the artifact, install it into a temporary folder, check it, and run the demo there."""
    used, staged = _controller(), stage()
    built = artifact_of(staged, BUILD / "artifact")
    with tempfile.TemporaryDirectory(prefix="keyfleet-install-") as folder:
        variables = _variables(used, staged, ANSIBLE_COLLECTIONS_PATH=folder)
        del variables["PYTHONPATH"]
        command = [used.tool("ansible-galaxy"), "collection", "install", "--offline", "-p", folder, built]
        _run(command, staged, variables)
        installed = Path(folder, "ansible_collections/keyfleet/infisical")
        artifact.check(installed, used.tool("ansible-doc"), variables)
        del variables["ANSIBLE_COLLECTIONS_PATH"]
        demo_folder = ["--folder", Path(folder, "demo")]
        _run([used.python, installed / "tests/demo/demo.py", "--no-hosts", *demo_folder], Path(folder), variables)


def galaxy(arguments: Arguments) -> None:
    used, staged = _tools("galaxy"), stage()
    galaxy_tools.check(used, artifact_of(staged, BUILD / "galaxy"), _variables(used, staged))


def dev(arguments: Arguments) -> None:
    core = _main_core()
    development.make(REQUIREMENTS / f"ansible-core-{core}.txt", _python(CORES[core]))


def matrix(arguments: Arguments) -> None:
    """Run all integration tests on each supported ansible-core and the oldest Python, and sanity on two of them."""
    _matrix(tuple(CORES), arguments or ALL_INTEGRATION, arguments or ALL_INTEGRATION)
    for core in sorted({_main_core(), _newest_core()}):
        _sanity(_on_core(core), [])


def cores(arguments: Arguments) -> None:
    """Run the tests that depend on ansible-core or on a host's Python, on the versions that `integration` left out."""
    others = tuple(core for core in CORES if core != _main_core())
    _matrix(others, *([*ALL_INTEGRATION, "-m", f"{mark} and not older_server"] for mark in ("core", "oldest")))


def _matrix(chosen: tuple[str, ...], tests: Arguments, tests_of_oldest: Arguments) -> None:
    lines = [_line_of(f"ansible-core {core}", CORES[core], partial(_integration_on, core, tests)) for core in chosen]
    oldest = partial(_oldest_modules, tests_of_oldest)
    lines.append(_line_of("modules and library with the oldest promised libraries", (OLDEST_MODULE_PYTHON,), oldest))
    print("\n".join(lines), flush=True)
    if any(line.startswith("FAILED") for line in lines):
        raise Failure("tests failed on the versions named above")
    skipped = [line for line in lines if line.startswith("skipped")]
    if len(skipped) == len(lines) or (skipped and os.environ.get("REQUIRE_ALL") == "1"):
        raise Failure("some versions were skipped: install the missing Python versions")


def _line_of(name: str, versions: tuple[str, ...], run: Callable[[], None]) -> str:
    """Run tests if one of the Python versions is found, and return a line for the summary."""
    found = interpreters.find_first(versions)
    if not found:
        return f"skipped  {name}: none of Python {', '.join(versions)} was found"
    print(f"== {name} on Python {found.release}", flush=True)
    try:
        run()
    except Failure as failure:
        return f"FAILED   {name} on Python {found.release}: {failure}"
    return f"passed   {name} on Python {found.release}"


def _integration_on(core: str, tests: Arguments) -> None:
    more = {"KEYFLEET_IMPORT_MODULES": "false"} if core == CORE_OF_PROCESSES else {}
    _integration(_on_core(core), tests, **more)


def _oldest_modules(tests: Arguments) -> None:
    modules, controller = _on("modules-oldest.txt", (OLDEST_MODULE_PYTHON,)), _controller()
    # The test server needs a newer Python than the library.
    for folder in ("tests/unit", "tests/contract"):
        _pytest(modules, folder, [*PARALLEL, folder], KEYFLEET_SERVER_PYTHON=str(controller.python))
    _integration(controller, tests, KEYFLEET_MODULE_PYTHON=str(modules.python))


def lint(arguments: Arguments) -> None:
    run_steps(["style", "types"])


CHECK = ["style", "types", "prose", "changelog", "docs-lint", "ansible-lint", "unit", "contract"]
# These steps need little or one processor core, so the tests can run in parallel to them.
BESIDE = ["molecule", "demo", "ansible-lint", "types", "docs-lint", "docs", "sanity", "install", "galaxy"]
ALL = ["style", "prose", "changelog", "unit", "contract", "page", "integration", "cores"]


def check(arguments: Arguments) -> None:
    run_steps(CHECK)


def packages(arguments: Arguments) -> None:
    prepare()


def test(arguments: Arguments) -> None:
    prepare()
    run_steps(ALL, BESIDE)


TARGETS: dict[str, Callable[[Arguments], None]] = {
    "demo": demo,
    "test": test,
    "check": check,
    "packages": packages,
    "lint": lint,
    "style": style,
    "repair": repair,
    "types": types,
    "unit": unit,
    "contract": contract,
    "page": page,
    "integration": integration,
    "sanity": sanity,
    "prose": prose,
    "reading": reading,
    "ansible-lint": ansible_lint,
    "docs-lint": docs_lint,
    "docs": docs,
    "changelog": changelog,
    "build": build,
    "install": install,
    "galaxy": galaxy,
    "dev": dev,
    "matrix": matrix,
    "molecule": molecule,
    "cores": cores,
    "bench": bench,
    "server": server,
}
