"""The bundles of small networks that the contracts of denoisers run on."""

from tests.contracts.small_networks import small

__all__ = ["small"]
