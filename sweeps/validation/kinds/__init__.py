"""How cases are evaluated, one file each; the name of the file is what a case's `kind` says.

A kind has `fit(case, rows) -> {constant: value}`, which sees the fitted rows only, and `predict(case, constants, rows) -> values`.
It may have `rows(case)` (when the measurements are not in the case file), `why_not(case)` (one line when it cannot be played
here, "" when it can) and `beside(case, rows) -> values` (another prediction to print next to the own one, with BESIDE its name).
"""
