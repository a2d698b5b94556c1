"""How a completion is judged: verifiers as data in a row, or as Python functions."""
