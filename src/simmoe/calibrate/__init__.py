"""Measures the machine that it runs on and writes what it found as a hardware profile; see docs/calibrate.md.

`backend` knows how to multiply and copy on a device, `copies`, `disk`, `kernels` and `beside` measure, `fit` turns samples
into constants, `profile` into a file.
"""
