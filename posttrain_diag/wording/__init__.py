"""How the tool speaks: untrusted text made harmless, how a number reads, and the words for what the tool finds.

    text.py        untrusted text, spelled out and clipped
    numbers.py     a share, a change in points, an interval, a token count, a duration, a p-value
    estimates.py   an estimate as the JSON files hold it: value, interval, and why there is none
    vocabulary.py  verdicts, classes, roles, findings, fates, stages: one table each

The terminal, the pages, their Markdown twins and the lines of `diag train` all read from here. The scripts of the pages
cannot: `reports/posttrain_reports/templates/numbers.js` says the same, and a test holds it to numbers.py.
"""
