"""The schema, its migrations and the named statements, as plain SQL files."""
