"""What a piece of work on the CPU takes, for miss rules that NEED cpu."""


def piece_ps(experts, slots, m):
    """One piece on the idle CPU: that many experts of the event's layer, which `slots` token slots chose; nothing takes no time."""
    ps = 0
    if experts > 0:
        ps = m.launch_ps[0] + max(m.read_ps[m.at[0] + experts], m.flop_ps[m.at[1] + slots])
    return ps
