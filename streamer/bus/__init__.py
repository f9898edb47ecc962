"""The bus: what it carries, and its two implementations."""
