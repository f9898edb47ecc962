"""Engines on disk: private, named by what decides their bits, and never half written."""

import json
import multiprocessing
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from engines.cache import (
    EngineKey,
    default_cache,
    engine_folders,
    key_of,
    new_folder,
    only_one,
    private_folder,
    shared_folder,
    write_whole,
)
from engines.errors import UsageError

KEY = EngineKey(
    network="denoiser",
    bundle="ab12", backend="openvino", version="1", precision="f32", device="a CPU",
    capability="avx2 fma", units=2, driver="", threads=None, tile=(8, 12), batch=None,
    flags=("recipe=1",),
)  # fmt: skip
OTHER: dict[str, Any] = {
    "network": "tuned",
    "bundle": "ab13", "backend": "torch", "version": "2", "precision": "bf16", "device": "a GPU",
    "capability": "9.0", "units": 132, "driver": "580", "threads": 1, "tile": (12, 8), "batch": 4,
    "flags": ("recipe=1", "ONEDNN_MAX_CPU_ISA=AVX2"),
}  # fmt: skip


@pytest.mark.parametrize("part", [field.name for field in fields(EngineKey)])
def test_whatever_decides_the_bits_names_another_engine(part: str) -> None:
    other = replace(KEY, **{part: OTHER[part]})

    assert other.digest != KEY.digest
    assert other.folder != KEY.folder


def test_a_key_survives_json() -> None:
    assert key_of(json.loads(json.dumps(asdict(KEY)))) == KEY


def test_a_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "a" / "b")

    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)

    with pytest.raises(UsageError, match=rf"mode {mode:04o} .* wanted 0700 .* are code"):
        private_folder(tmp_path)


def test_a_folder_that_cannot_be_made_names_the_settings_that_help(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match=r"file/engines: cannot be made .* engine\.cache"):
        private_folder(tmp_path / "file" / "engines")


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "plan", b"old")
    write_whole(tmp_path / "plan", b"new")

    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("plan", b"new")]


def test_an_engine_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    cache = private_folder(tmp_path / "cache")

    with only_one(cache, KEY), new_folder(cache, KEY) as folder:
        (folder / "plan").write_bytes(b"half")
        assert engine_folders(cache) == []

    assert [p.name for p in engine_folders(cache)] == [KEY.folder]
    assert (cache / KEY.folder).stat().st_mode & 0o777 == 0o700


def test_an_engine_that_failed_leaves_nothing_and_keeps_the_one_before(tmp_path: Path) -> None:
    cache = private_folder(tmp_path / "cache")
    with only_one(cache, KEY), new_folder(cache, KEY) as folder:
        (folder / "plan").write_bytes(b"first")

    with pytest.raises(FileNotFoundError), new_folder(cache, KEY) as folder:
        (folder / "no such folder" / "plan").write_bytes(b"second")

    assert [p.name for p in cache.iterdir() if p.is_dir()] == [KEY.folder]
    assert (cache / KEY.folder / "plan").read_bytes() == b"first"


def test_what_a_dead_process_left_is_swept_away(tmp_path: Path) -> None:
    cache = private_folder(tmp_path / "cache")
    (cache / f"{KEY.folder}.abc.unfinished").mkdir()

    with only_one(cache, KEY), new_folder(cache, KEY):
        pass

    assert [p.name for p in cache.iterdir() if p.is_dir()] == [KEY.folder]


def test_what_serves_several_engines_lies_in_the_cache_around_them(tmp_path: Path) -> None:
    cache = private_folder(tmp_path / "cache")
    tmp_path.chmod(0o755)

    assert shared_folder(private_folder(cache / "one")) == cache
    assert shared_folder(cache) == cache


def test_the_default_is_below_the_users_cache() -> None:
    assert default_cache({"XDG_CACHE_HOME": "/x"}) == Path("/x/downscaled/engines")
    assert default_cache({}).parts[-3:] == (".cache", "downscaled", "engines")


def _adds_one(cache: Path, times: int) -> None:
    for _ in range(times):
        with only_one(cache, KEY):
            file = cache / "count"
            file.write_text(str(int(file.read_text()) + 1))


def test_two_processes_do_not_make_an_engine_at_once(tmp_path: Path) -> None:
    cache = private_folder(tmp_path / "cache")
    (cache / "count").write_text("0")
    spawn = multiprocessing.get_context("spawn")
    pair = [spawn.Process(target=_adds_one, args=(cache, 200)) for _ in range(2)]

    for one in pair:
        one.start()
    for one in pair:
        one.join()

    assert (cache / "count").read_text() == "400"
