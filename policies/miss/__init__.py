"""What happens to a missing expert, one file each: `serve(n, resident, event, m)`, called once per event (simulator/decide/missing.py)."""
