"""Worker processes: what they hand back, and what a killer, a hanger and a dead parent cost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import psutil
import pytest

from streamer.domain import Decoded, Field, Reason, Rejected, Unwanted
from streamer.grib.decode import decode, prepare
from streamer.grib.frame import split
from streamer.grib.manifest import GribManifest
from streamer.grib.wants import Limits, Wants
from streamer.grib.workers import Workers, WorkersError
from tests.streamer.grib.decoders import (
    FIRST,
    KILLER,
    SECOND,
    count,
    die_at_start,
    die_of_killer,
    eat,
    hang_at_killer,
    raise_at_killer,
    whole_globe,
)


@pytest.fixture
def wants(wind_manifest: GribManifest) -> Wants:
    return Wants(wind_manifest, limits=Limits(worker_timeout_s=60))


@pytest.fixture
def brief(wind_manifest: GribManifest) -> Wants:
    """Wants whose patience ends while a test can wait."""
    return Wants(wind_manifest, limits=Limits(worker_timeout_s=1.5))


def drain(workers: Workers) -> dict[int, list[Decoded]]:
    found: dict[int, list[Decoded]] = {}
    while workers.pending:
        found.update(workers.finished(60))
    return found


@pytest.fixture
def gfs(shared_data: Path) -> list[bytes]:
    folder = shared_data / "gfs-wind-1deg" / "train"
    return [path.read_bytes() for path in sorted(folder.iterdir())[:6]]


def test_fields_come_back_as_they_were_decoded(
    gfs: list[bytes], wants: Wants, mir_cache: Path
) -> None:
    with Workers(decode, wants, 2, prepare=prepare, cache=mir_cache) as workers:
        assert workers.warm(60)
        for ticket, value in enumerate(gfs):
            workers.submit(ticket, value, "twice")
        assert workers.pending == len(gfs)
        assert workers.pending_bytes == sum(map(len, gfs))
        found = drain(workers)

    assert workers.pending == workers.pending_bytes == 0
    for ticket, value in enumerate(gfs):
        for one, other in zip(found[ticket], decode(value, wants, "twice"), strict=True):
            assert isinstance(one, Field)
            assert isinstance(other, Field)
            assert (one.key, one.parameter, one.grid) == (other.key, other.parameter, other.grid)
            assert (one.message, one.digest) == (other.message, other.digest)
            np.testing.assert_array_equal(one.coarse, other.coarse)
            np.testing.assert_array_equal(one.interpolated, other.interpolated)


def test_a_message_that_kills_its_process_costs_itself_alone(wants: Wants) -> None:
    with Workers(die_of_killer, wants, 1) as workers:
        workers.submit(1, FIRST + KILLER + SECOND, "a")
        workers.submit(2, SECOND, "b")
        found = drain(workers)

    assert found[1][0] == Unwanted(f"a{len(FIRST)}")
    assert found[1][2] == Unwanted(f"a{len(SECOND)}")
    rejected = found[1][1]
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.WORKER_DIED
    assert "SIGSEGV" in rejected.text
    assert found[2] == [Unwanted(f"b{len(SECOND)}")]


def test_a_message_that_hangs_its_process_costs_itself_alone(brief: Wants) -> None:
    with Workers(hang_at_killer, brief, 1) as workers:
        workers.submit(1, FIRST + KILLER + SECOND)
        found = drain(workers)

    assert found[1][0] == Unwanted(str(len(FIRST)))
    assert found[1][2] == Unwanted(str(len(SECOND)))
    rejected = found[1][1]
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.WORKER_HUNG
    assert "1.5 s" in rejected.text


def test_while_one_process_hangs_the_other_goes_on(brief: Wants) -> None:
    with Workers(hang_at_killer, brief, 2) as workers:
        assert workers.warm(60)
        workers.submit(0, KILLER)
        for ticket in range(1, 20):
            workers.submit(ticket, FIRST)
        order = [ticket for ticket, _ in _each(workers)]

    assert order[-1] == 0
    assert sorted(order) == list(range(20))


def _each(workers: Workers) -> Iterator[tuple[int, list[Decoded]]]:
    while workers.pending:
        yield from workers.finished(60)


def test_an_error_that_nobody_expected_costs_its_message_alone(wants: Wants) -> None:
    with Workers(raise_at_killer, wants, 1) as workers:
        workers.submit(1, KILLER + FIRST)
        (rejected, good) = drain(workers)[1]

    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.UNDECODABLE
    assert "ZeroDivisionError: a defect" in rejected.text
    assert good == Unwanted(str(len(FIRST)))


def test_a_real_message_with_one_changed_byte_that_kills_ecc_codes_costs_itself_alone(
    shared_data: Path, wants: Wants, mir_cache: Path
) -> None:
    # Found by changing bytes of real messages at random: it counts the groups of complex packing,
    # by millions now, so that no state of the heap lets it pass.
    folder = shared_data / "gfs-wind-1deg" / "train"
    record = (folder / "gfs.t00z.pgrb2.1p00.f000.2018100618f3.grib2").read_bytes()
    first, second = (one for one in split(record, Limits()) if isinstance(one, bytes))
    killer = bytearray(first)
    killer[174] = 255

    with Workers(decode, wants, 1, cache=mir_cache) as workers:
        workers.submit(1, first + bytes(killer) + second)
        found = drain(workers)[1]

    assert isinstance(found[0], Field)
    assert isinstance(found[2], Field)
    rejected = found[1]
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.WORKER_DIED
    assert "SIGSEGV" in rejected.text


def test_a_real_message_that_kills_mir_costs_itself_alone(
    shared_data: Path, wants: Wants, mir_cache: Path
) -> None:
    folder = shared_data / "conformance"
    good = (folder / "cfgrib" / "reduced_gg.grib").read_bytes()
    killer = (folder / "earthkit-data" / "rotated_N32_subarea.grib").read_bytes()

    with Workers(whole_globe, wants, 1, cache=mir_cache) as workers:
        workers.submit(1, good + killer)
        (first, second) = drain(workers)[1]

    assert first == Unwanted("regridded")
    assert isinstance(second, Rejected)
    assert second.reason is Reason.WORKER_DIED
    assert "SIGABRT" in second.text


def test_a_real_message_that_hangs_mir_costs_itself_alone(
    shared_data: Path, brief: Wants, mir_cache: Path
) -> None:
    # One changed byte makes it N32816, whose latitudes MIR seeks for longer than anyone waits.
    hanger = bytearray((shared_data / "conformance" / "cfgrib" / "reduced_gg.grib").read_bytes())
    hanger[85] = 128

    with Workers(whole_globe, brief, 1, cache=mir_cache) as workers:
        workers.submit(1, bytes(hanger))
        (found,) = drain(workers)[1]

    assert isinstance(found, Rejected)
    assert found.reason is Reason.WORKER_HUNG


def test_a_process_that_takes_too_much_memory_is_stopped_by_its_limit(
    wind_manifest: GribManifest,
) -> None:
    limits = Limits(worker_memory_bytes=800 << 20)

    with Workers(eat, Wants(wind_manifest, limits=limits), 1) as workers:
        workers.submit(1, FIRST)
        (found,) = drain(workers)[1]

    assert isinstance(found, Rejected)
    assert "MemoryError" in found.text


def test_a_process_killed_from_outside_loses_nothing(wants: Wants) -> None:
    with Workers(count, wants, 1) as workers:
        workers.submit(1, FIRST)
        drain(workers)
        (child,) = _decoders(psutil.Process())
        child.kill()
        assert wait(workers.connections, 60)
        workers.submit(2, SECOND)

        assert drain(workers)[2] == [Unwanted(str(len(SECOND)))]


def test_a_process_does_not_obey_the_signals_that_stop_its_parent(wants: Wants) -> None:
    with Workers(count, wants, 1) as workers:
        assert workers.warm(60)
        (child,) = _decoders(psutil.Process())
        child.send_signal(signal.SIGTERM)
        child.send_signal(signal.SIGINT)
        workers.submit(1, FIRST)

        assert drain(workers)[1] == [Unwanted(str(len(FIRST)))]
        assert child.is_running()


def test_processes_that_cannot_start_are_an_error_and_not_a_loop(wants: Wants) -> None:
    with (
        Workers(count, wants, 1, prepare=die_at_start) as workers,
        pytest.raises(WorkersError, match="exit status 7"),
    ):
        workers.warm(60)


def test_connections_wake_the_one_who_waits(wants: Wants) -> None:
    with Workers(count, wants, 2) as workers:
        assert workers.warm(60)
        workers.submit(1, FIRST)

        assert wait(workers.connections, 60)
        assert [ticket for ticket, _ in workers.finished()] == [1]


def test_closing_ends_every_process_and_leaves_no_descriptor(wants: Wants) -> None:
    with Workers(count, wants, 1) as workers:
        workers.warm(60)
    before = psutil.Process().num_fds()

    with Workers(hang_at_killer, wants, 2) as workers:
        assert workers.warm(60)
        workers.submit(1, KILLER)
        children = _decoders(psutil.Process())
        assert len(children) == 2

    assert not _decoders(psutil.Process())
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize("decoder", ["count", "hang_at_killer"])
def test_no_process_outlives_a_parent_that_was_killed(decoder: str, repository: Path) -> None:
    program = (
        "import sys\n"
        "from streamer.grib.manifest import read_manifest\n"
        "from streamer.grib.wants import Limits, Wants\n"
        "from streamer.grib.workers import Workers\n"
        "from tests.streamer.grib import decoders as t\n"
        "from tests.streamer.grib.conftest import wind_part\n"
        "if __name__ == '__main__':\n"
        "    wants = Wants(read_manifest(wind_part()), limits=Limits(worker_timeout_s=1))\n"
        f"    workers = Workers(t.{decoder}, wants, 2)\n"
        "    assert workers.warm(60)\n"
        "    workers.submit(1, t.KILLER)\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=repository,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    assert parent.stdout.readline() == b"ready\n"
    children = _decoders(psutil.Process(parent.pid))
    assert len(children) == 2

    parent.kill()
    parent.wait()

    # An idle one ends at the closed pipe, a hanging one at its alarm, 6 s.
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    parent.stdin.close()
    parent.stdout.close()


def test_handing_over_costs_little_beside_decoding(
    gfs: list[bytes], wants: Wants, mir_cache: Path
) -> None:
    prepare(wants)
    decode(gfs[0], wants, "")
    with Workers(decode, wants, 1, prepare=prepare, cache=mir_cache) as workers:
        assert workers.warm(60)
        workers.submit(0, gfs[0])
        drain(workers)
        ratios = [_seconds(workers, gfs) / _seconds(None, gfs, wants) for _ in range(3)]

    # Measured 1.25; the bound leaves room for a machine with other work.
    assert min(ratios) < 2.5


def _seconds(workers: Workers | None, values: list[bytes], wants: Wants | None = None) -> float:
    begun = time.perf_counter()
    if workers is None:
        assert wants is not None
        for value in values:
            decode(value, wants, "")
    else:
        for ticket, value in enumerate(values):
            workers.submit(ticket, value)
        drain(workers)
    return time.perf_counter() - begun


def _decoders(parent: psutil.Process) -> list[psutil.Process]:
    """The worker processes of a parent: spawned ones, not Python's resource tracker."""
    return [
        child
        for child in parent.children()
        if any("spawn_main" in word for word in child.cmdline())
    ]


def test_a_new_process_does_not_run_the_program_of_its_parent_again(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "print('the program runs', flush=True)\n"
        "from tests.streamer.grib.conftest import wind_part\n"
        "from tests.streamer.grib.decoders import count\n"
        "from streamer.grib.manifest import read_manifest\n"
        "from streamer.grib.wants import Wants\n"
        "from streamer.grib.workers import Workers\n"
        "with Workers(count, Wants(read_manifest(wind_part())), 1) as workers:\n"
        "    print(workers.warm(60))\n"
    )

    ended = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout.splitlines() == ["the program runs", "True"]
