"""What a user may set, with defaults and reasons: blocks with one owner each, and the configs composed of them.

block       how settings are built             tasks, prompt, model, engine, sampling     the blocks
analysis    of `diag analyze`                  stage     of `diag train`                  autopilot     of `diag run`
"""
