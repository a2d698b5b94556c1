"""Does the code in a completion pass the tests?

completion ──► blocks: fenced and bare stretches ──► pieces: top-level statements, what each binds and needs
           ──► program: the last complete definition with all that it needs ──► one run with the tests in the sandbox
"""
