"""Changes the model while the daemon runs: verified, built and warm before it takes a step.

The bundle's path may be a link. When it comes to lead elsewhere, or on SIGHUP, the new bundle is
opened on a thread of its own beside the old one. If anything is wrong with it the old one serves
on, and a metric and one line of log say so.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from engines.bundle import locate
from engines.errors import DownscaledError
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)


Folders = tuple[Path, ...]


class Successor(Protocol):
    """A model that is ready to take steps."""

    @property
    def digest(self) -> str:
        """The bundle's."""
        ...

    def take_over(self) -> None:
        """Serve from now on; called on the loop's thread."""
        ...


class Succession:
    """Watches for another bundle and brings it to work; belongs to the loop's thread.

    bundles: as the configuration names them. serving: folders and digest of those at work.
    open_next: opens, proves and warms the bundles in their folders, on a thread of its own; any
    error of ours says why not. asked: set by whoever wants it looked at now, and cleared here.
    """

    def __init__(
        self,
        bundles: Sequence[str],
        serving: tuple[Folders, str],
        open_next: Callable[[Folders], Successor],
        metrics: Metrics,
        asked: threading.Event,
    ) -> None:
        self._bundles = tuple(bundles)
        self._folders, self._digest = serving
        self._open_next = open_next
        self._metrics = metrics
        self._asked = asked
        self._opening: Future[Successor] | None = None

    @property
    def is_opening(self) -> bool:
        """Whether a bundle is being opened."""
        return self._opening is not None

    def look(self) -> None:
        """Begin to open a bundle that is new, and put one to work that is ready."""
        if self._opening is None:
            self._begin()
        elif self._opening.done():
            opening, self._opening = self._opening, None
            self._end(opening)

    def _begin(self) -> None:
        asked = self._asked.is_set()
        self._asked.clear()
        try:
            folders = tuple(locate(bundle).resolve() for bundle in self._bundles)
        except DownscaledError as error:
            # Between the removal of a link and its making anew there is none: not yet a fault.
            if asked:
                self._refuse(str(error))
            return
        if folders == self._folders and not asked:
            return
        # Looked at once: a bundle that was refused is not tried again until somebody acts.
        self._folders = folders
        log.info("opening the bundle in %s", " and ".join(map(str, folders)))
        self._opening = Future()
        threading.Thread(
            target=self._open, args=(folders, self._opening), name="succession", daemon=True
        ).start()

    def _open(self, folders: Folders, opening: "Future[Successor]") -> None:
        try:
            opening.set_result(self._open_next(folders))
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: told by the future
            opening.set_exception(error)

    def _end(self, opening: "Future[Successor]") -> None:
        error = opening.exception()
        if error is not None:
            told = str(error) if isinstance(error, DownscaledError) else repr(error)
            self._refuse(told)
            return
        successor = opening.result()
        successor.take_over()
        log.info("bundle %.12s takes over from %.12s", successor.digest, self._digest)
        self._digest = successor.digest
        self._metrics.bundle_changes.labels(outcome="taken").inc()

    def _refuse(self, why: str) -> None:
        self._metrics.bundle_changes.labels(outcome="refused").inc()
        log.error("bundle %.12s serves on: %s", self._digest, why)
