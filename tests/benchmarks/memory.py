"""Measures whether memory stays flat: `python -m tests.benchmarks memory`.

Two thousand steps with the closed form go through a daemon on an Apache Kafka, in lots, so that
each lot's end finds it idle; then the resident memory of its processes is read. The last
quarter's median over the second's must be 1 within 5 %.
"""

from pathlib import Path
from statistics import median

from tests.benchmarks import forecast, peer, processes

LOT = 50


def run(folder: Path, bundle: str, home: Path, steps: int = 2000) -> None:
    """Measure once and print the figures."""
    with processes.broker(home) as broker:
        for topic in peer.TOPICS:
            broker.create(topic)
        feeder, reader = peer.Feeder(broker), peer.Reader(broker)
        daemon = processes.start(home, peer.config(broker, bundle))
        daemon.wait_until_ready()
        seen = []
        for first in range(0, steps, LOT):
            feeder.feed(list(forecast.steps(folder, LOT, first)))
            reader.wait_for(LOT)
            seen.append(daemon.memory_bytes())
        daemon.stop()
    quarter = len(seen) // 4
    print(f"{steps} steps, resident MiB by quarter (main process, its workers, all):")
    for part in range(4):
        lot = seen[part * quarter : (part + 1) * quarter]
        main, workers = (median(one[i] for one in lot) / 2**20 for i in (0, 1))
        print(f"  {part + 1}: {main:7.1f} {workers:7.1f} {main + workers:7.1f}")
    second, last = (median(sum(one) for one in seen[n * quarter :][:quarter]) for n in (1, 3))
    print(f"last quarter over the second: {last / second:.3f}")
