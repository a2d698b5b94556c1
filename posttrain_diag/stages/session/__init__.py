"""One stage in progress: its phases on disk, its watcher and the draws it must pay for."""
