"""The base of all errors of this project, and the errors of the machine room.

Every error says what was found, what was wanted and where, and carries a short fixed
`reason` that is also the label of the metric that counts it.
"""

from typing import ClassVar


class DownscaledError(Exception):
    """Base of all our errors; `reason` is fixed per class and safe as a metric label."""

    reason: ClassVar[str] = "error"


class UsageError(DownscaledError):
    """A wrong use, configuration or bundle: a command ends with exit status 2."""

    reason = "usage"


class BundleError(UsageError):
    """A bundle that cannot be read, verified or understood."""

    reason = "bundle"


class EngineError(DownscaledError):
    """An engine that cannot be loaded, does not reproduce its golden vectors, or fails at work."""

    reason = "engine"


class OutOfMemory(EngineError):
    """A batch that the device's memory does not hold; half of it may fit."""

    reason = "memory"
