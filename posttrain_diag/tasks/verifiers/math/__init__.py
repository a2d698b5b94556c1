r"""The `math` verifier: answers compared as mathematics.

completion ─ found ─► text ─ spelling, tokens, answers ─► structure ─ compare, values ─► verdict
└ workers: math-verify for the rest
"""
