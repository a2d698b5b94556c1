"""The `diag` command."""
