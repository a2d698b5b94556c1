"""From a source of tasks to problems: reading rows, recognising layouts, reference completions, writing them back."""
