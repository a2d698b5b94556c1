"""From a command to a diagnosed run: `analyze` with a model, `counts` from imported counts, `report_data` from disk."""
