"""The house itself: what importing does, and what the repository may hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import PACKAGES, REPOSITORY, tracked

#: Whom a file of ours may name; every other host is a slip.
KNOWN_HOSTS = {
    "127.0.0.1",
    "apps.ecmwf.int",
    "arxiv.org",
    "codes.ecmwf.int",
    "doi.org",
    "github.com",
    "json-schema.org",
    "keepachangelog.com",
    "localhost",
    "maven.apache.org",  # the name of an XML format
    "opensource.org",
    "protobuf.dev",
    "www.apache.org",
    "www.w3.org",
}

#: Run in a process of its own: import every module and print what that did besides.
IMPORT_EVERYTHING = """
import importlib, sys, threading
root, names = sys.argv[1], sys.argv[2:]
loud = ("open", "os.mkdir", "os.putenv", "subprocess.Popen", "_thread.start_new_thread",
        "socket.bind", "socket.connect", "socket.getaddrinfo")

def watch(event, arguments):
    if event not in loud:
        return
    # What a foreign library does while it is itself imported is its own affair: look up the
    # stack only as far as the import machinery.
    frame = sys._getframe(1)
    while frame is not None and "importlib" not in frame.f_code.co_filename:
        name = frame.f_code.co_filename
        if name.startswith(root) and "site-packages" not in name:
            print(frame.f_code.co_filename, frame.f_lineno, event, arguments[:1])
            return
        frame = frame.f_back

sys.addaudithook(watch)
for name in names:
    importlib.import_module(name)
ours = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
if ours:
    print("threads left", ours)
"""

IMPORT_WITHOUT_TORCH = """
import importlib, sys
for name in ("torch", "onnx", "onnxscript", "safetensors"):
    sys.modules[name] = None
importlib.import_module("streamer.commands.main")
"""


def sources() -> list[Path]:
    """Return the Python files that are installed."""
    return [path for name in PACKAGES for path in sorted((REPOSITORY / name).rglob("*.py"))]


def modules() -> list[str]:
    """Return the dotted names of all installed modules."""
    names = [path.relative_to(REPOSITORY).with_suffix("").as_posix() for path in sources()]
    return sorted(name.removesuffix("/__init__").replace("/", ".") for name in names)


def run_python(script: str, *arguments: str, folder: Path) -> str:
    """Run a script in a fresh interpreter, in an empty folder, and return what it printed."""
    first = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{script}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_every_module_does_nothing(tmp_path: Path) -> None:
    did = run_python(IMPORT_EVERYTHING, str(REPOSITORY), *modules(), folder=tmp_path)

    assert did == ""
    assert list(tmp_path.iterdir()) == []


def test_running_needs_no_torch(tmp_path: Path) -> None:
    assert run_python(IMPORT_WITHOUT_TORCH, folder=tmp_path) == ""


def environment_reads(path: Path) -> Iterator[int]:
    """Yield the lines outside functions on which a module looks at the environment."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
            yield node.lineno
        waiting.extend(ast.iter_child_nodes(node))


def test_no_module_reads_the_environment_when_it_is_imported() -> None:
    found = [f"{path}:{line}" for path in sources() for line in environment_reads(path)]

    assert found == []


def test_no_function_is_longer_than_fifty_lines() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name} has {length} lines"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > 50
    ]

    assert found == []


def test_no_data_file_is_committed() -> None:
    data = re.compile(r"\.(gri?b\d?|nc\d?|h5|hdf5?|pth|pt|tar|zarr|tiff?)(\.\w+)?$")

    assert [str(path) for path in tracked() if data.search(path.name)] == []


def test_no_file_names_a_machine_or_an_unknown_host() -> None:
    private = re.compile(r"(?<![\w.$}])/(?:work|root|home/\w+|tmp/w)/[\w.]")
    host = re.compile(r"\bhttps?://([\w.-]+)")

    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if path == Path(__file__):
            continue
        slips = private.findall(text) + sorted(set(host.findall(text)) - KNOWN_HOSTS)
        found += [f"{path.relative_to(REPOSITORY)}: {slip}" for slip in slips]

    assert found == []
