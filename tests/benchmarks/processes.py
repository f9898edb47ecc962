"""The daemon and the broker as processes of their own: started, watched, killed."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from streamer.commands.main import main as downscaled
from tests.conftest import REPOSITORY
from tests.kafka_broker import Broker, free_ports, new_broker

_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running `downscaled run`. began: when it was started, by `time.monotonic`."""

    process: "subprocess.Popen[bytes]"
    port: int
    threads: Path
    began: float

    def wait_until_ready(self) -> float:
        """Wait for /ready to say yes; return the seconds since the start."""
        while time.monotonic() - self.began < _PATIENCE_S:
            if self.process.poll() is not None:
                raise SystemExit(f"the daemon ended with {self.process.returncode}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5).close()
                return time.monotonic() - self.began
            time.sleep(0.02)
        raise SystemExit("the daemon did not become ready")

    def seconds_by_part(self) -> dict[str, float]:
        """Return the processor seconds that its threads and worker processes have used."""
        self.threads.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        while not self.threads.exists():
            time.sleep(0.01)
        used: dict[str, float] = json.loads(self.threads.read_text())
        for number, child in enumerate(self._workers()):
            used[f"worker {number}"] = sum(child.cpu_times()[:2])
        return used

    def memory_bytes(self) -> tuple[int, int]:
        """Return the resident memory of the main process, and of all its workers."""
        workers = sum(child.memory_info().rss for child in self._workers())
        return psutil.Process(self.process.pid).memory_info().rss, workers

    def _workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        # The others only watch over shared resources for multiprocessing.
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.process.terminate()
        self.process.wait(60)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait(10)


@contextmanager
def broker(home: Path) -> Iterator[Broker]:
    """Start an Apache Kafka of our own in a folder; it is gone after the block."""
    running = new_broker(home)
    try:
        yield running
    finally:
        running.signal(signal.SIGKILL)


def seconds_of(running: Broker) -> float:
    """Return the processor seconds that a broker has used."""
    process = psutil.Process(int((running.home / "broker.pid").read_text()))
    return float(sum(process.cpu_times()[:2]))


def start(folder: Path, plain: dict[str, object]) -> Daemon:
    """Start a daemon with a configuration; what it says goes to `daemon.log` in the folder."""
    port, threads, config = free_ports(), folder / "threads.json", folder / "config.yaml"
    config.write_text(yaml.safe_dump({**plain, "metrics": {"port": port}}))
    began = time.monotonic()
    with (folder / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.processes", str(config), str(threads)],
            cwd=REPOSITORY,
            stderr=log,
        )
    return Daemon(process, port, threads, began)


def _tell_threads(path: Path) -> None:
    """Write what each thread of this process has used so far."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    used: dict[str, float] = {}
    for thread in psutil.Process().threads():
        # The engine's own threads and the Kafka client's have names only where Python made them.
        name = names.get(thread.id, "native")
        used[name] = used.get(name, 0.0) + thread.user_time + thread.system_time
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(used))
    partial.replace(path)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: _tell_threads(Path(sys.argv[2])))
    sys.exit(downscaled(["run", sys.argv[1]]))
