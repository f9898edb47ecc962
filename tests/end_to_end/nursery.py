"""Processes that are forked from a warm one, so that a daemon's or a sink's start costs little."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


class Nursery:
    """Starts children one after the other; see `mortal`. module: of tests.end_to_end."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.end_to_end.{module}"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.child = 0

    def fork(self, config: Path, log: Path, point: str, count: int) -> int:
        """Start the next child, which dies when it comes to the point so often; its process id."""
        order = {"config": str(config), "log": str(log), "point": point, "count": count}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.child = self._told()
        return self.child

    def end(self) -> int:
        """Wait for the child's end; return its exit status, below zero for a signal."""
        status = self._told()
        self.child = 0
        return status

    def close(self) -> None:
        if self.child:
            os.kill(self.child, signal.SIGKILL)
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def _told(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())
