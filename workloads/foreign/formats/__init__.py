"""Formats of traces of other programs, one file each: the file name is the name of the format."""
