"""What a user may set, with defaults and reasons: one file for an analysis, a training stage and an autopilot run."""
