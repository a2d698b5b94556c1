"""Evidence that others measured: counts per problem from a file."""

from posttrain_diag.importers.counts import COLUMN_NAMES, CountsTable, read_counts

__all__ = ["COLUMN_NAMES", "CountsTable", "read_counts"]
