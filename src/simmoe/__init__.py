"""simmoe: how fast will this Mixture-of-Experts model run on that machine, and what should I change?"""

__version__ = "0.1.0"
