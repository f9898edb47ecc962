"""The bus, room by room."""
