"""A missing expert is computed on the CPU and never loaded: nothing but prefetches can make an expert resident."""

NEEDS = ("cpu",)


def serve(n, resident, event, m):
    for k in range(n):
        m.unit[k] = m.cpu[0]
