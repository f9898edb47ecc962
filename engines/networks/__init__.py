"""The networks of the EDM family in our own code, with the names that checkpoints use."""

from engines.networks.catalogue import build
from engines.networks.settings import NetworkSettings, from_plain, published, to_plain

__all__ = ["NetworkSettings", "build", "from_plain", "published", "to_plain"]
