"""Machines of tests that play through the command line alone."""

TWO = """
extends: a100
name: two
title: an a100 and a slower card
tiers:
  slow: {capacity: {value: 24 GiB, kind: nominal, source: test}, bandwidth: {value: 400 GB/s, kind: nominal, source: test}}
units:
  gpu1:
    memory: slow
    bandwidth: {value: 400 GB/s, kind: nominal, source: test}
    launch: {value: 4 us, kind: assumed, source: test}
    flops: {fp16: {value: 50 TFLOP/s, kind: assumed, source: test}}
links:
  gpu1:
    from: host_dram
    to: slow
    bandwidth: {value: 12 GB/s, kind: nominal, source: test}
    latency: {value: 8 us, kind: assumed, source: test}
devices: [gpu, gpu1]
fabric: {bandwidth: {value: 20 GB/s, kind: nominal, source: test}, latency: {value: 5 us, kind: assumed, source: test}}
"""
