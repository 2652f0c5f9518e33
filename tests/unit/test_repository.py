"""What must hold of the repository itself: generated code, the lock, the protos, the scripts."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROTOS = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
SCRIPTS = [
    ROOT / name for name in (".ci/run", "scripts/demo", "scripts/generate", "scripts/setup", "scripts/test")
]

# Not of the repository: what set-up, tools, and servers leave behind.
LEFT_BEHIND = {".git", "__pycache__", "build", "demo-data", "dist", "node_modules"}

# Where packages come from is the installing machine's business. Written in pieces, or this file would match.
INDEX = re.compile(
    r"://[^\s\"']*(?:" + "|".join(("py" + "pi", "python" + "hosted", "npm" + "js", "/sim" + "ple/")) + ")"
    r"|^\s*(?:-i|-f|--(?:extra-)?index-" + r"url|--find-" + r"links)\b",
    re.MULTILINE,
)
MACHINE_PATH = re.compile("|".join((r"/ro" + r"ot/", r"/ho" + r"me/\w", r"/wo" + r"rk/", r"/tm" + r"p/w\b")))


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the repository."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in LEFT_BEHIND
            and not name.endswith(".egg-info")
            and (name[0] != "." or name == ".ci")
        ]
        for name in names:
            path = Path(folder, name)
            data = path.read_bytes()
            if b"\0" not in data:
                yield path.relative_to(ROOT), data.decode()


def locked(lock: str) -> dict[str, str]:
    """The packages of a lock with their versions."""
    lines = (ROOT / lock).read_text().splitlines()
    pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins), pins
    return dict(pin.split("==") for pin in pins)


def test_the_committed_stubs_are_what_the_protos_generate():
    ran = subprocess.run(
        [ROOT / "scripts/generate", "--check"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_file_names_an_index_of_packages():
    assert [str(path) for path, text in texts() if INDEX.search(text)] == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on():
    assert [str(path) for path, text in texts() if MACHINE_PATH.search(text)] == []


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("requirements.lock", ("dev", "replay", "fast")), ("scripts/bench/requirements.lock", ("bench",))],
)
def test_a_lock_has_an_exact_version_of_everything_that_the_project_asks_for(lock, extras):
    versions = locked(lock)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run_and_is_sound_bash(script):
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The protos with their comments."""
    out = tmp_path_factory.mktemp("protos") / "set"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'protos'}"]
    subprocess.run([*protoc, f"--descriptor_set_out={out}", "--include_source_info", *PROTOS], check=True)
    return FileDescriptorSet.FromString(out.read_bytes()).file


def comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Every message, field, oneof, enum, value, service and method with the comment above it."""
    above = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
    # Numbers of the fields that hold each kind, from descriptor.proto.
    for i, message in enumerate(file.message_type):
        assert not message.nested_type or all(n.options.map_entry for n in message.nested_type), (
            "walk these too"
        )
        assert not message.enum_type, "walk these too"
        yield message.name, above.get((4, i), "")
        yield from ((field.name, above.get((4, i, 2, j), "")) for j, field in enumerate(message.field))
        yield from ((oneof.name, above.get((4, i, 8, j), "")) for j, oneof in real_oneofs(message))
    for i, enum in enumerate(file.enum_type):
        yield enum.name, above.get((5, i), "")
        yield from ((value.name, above.get((5, i, 2, j), "")) for j, value in enumerate(enum.value))
    for i, service in enumerate(file.service):
        yield service.name, above.get((6, i), "")
        yield from ((method.name, above.get((6, i, 2, j), "")) for j, method in enumerate(service.method))


def real_oneofs(message):
    """Those that stand in the file: `optional` makes one of its own."""
    made = {field.oneof_index for field in message.field if field.proto3_optional}
    return [(index, oneof) for index, oneof in enumerate(message.oneof_decl) if index not in made]


def test_every_message_field_and_enum_value_has_a_comment_that_starts_with_its_name(files):
    assert len(files) == len(PROTOS) == 2
    told = [entry for file in files for entry in comments(file)]
    assert len(told) > 100
    assert [name for name, comment in told if not re.match(rf"{name}\b.*\S", comment)] == []


def test_the_protos_import_nothing_but_what_comes_with_protobuf(files):
    imports = {name for file in files for name in file.dependency}
    assert all(name.startswith("google/protobuf/") for name in imports)
