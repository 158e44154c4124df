"""The version, and that of the JSON of results, which every result states."""

VERSION = "0.2.0"
RESULT_SCHEMA = 2  # 1 is of 0.1.0, whose numbers are others
