"""The version, which every result states."""

VERSION = "0.1.0"
