"""What to say where no setup of an engine fits: how much is missing, and which single change would be enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from simmoe import hardware_profiles
from simmoe.hardware_profiles import composing
from simmoe.play.engine_files import opened_by
from simmoe.play.plan_parts import CARDS
from simmoe.play.plan_space import MICROBATCHES, Space
from simmoe.play.usual_runtime import maker
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.units import nbytes
from simmoe.workloads import models
from simmoe.workloads.models.formats import FORMATS, files_of


def nothing_fits(space: Space, name: str) -> DoesNotFit:
    """name: of the model, as it was given."""
    model, setup = space.shapes[None], space.easiest
    needs = space.device(setup)["total"]
    if needs > space.room_bytes:
        where = f"{nbytes(needs)} are needed on the device and {nbytes(space.room_bytes)} are there"
    else:
        where = f"the experts of the CPU need {nbytes(-_host_left(space))} more host memory"
    ways = list(_ways(space, name))
    fits = (
        f"what would fit: {', or '.join(ways)}" if ways else "no single change of the format, context or card is enough"
    )
    return DoesNotFit(
        f"{model.name} at {model.format} does not fit on {space.hw.name} with --context {space.context:,}: {where}; {fits}"
    )


def _host_left(space: Space) -> int:
    """With as much on the card as it holds."""
    setup = next(
        (one for away in range(space.most_away) if space.free(one := space.easiest._replace(away=away)) >= 0),
        space.easiest,
    )
    return space.host_left(setup) or 0


def _fits(space: Space) -> bool:
    kinds = [(kv, offload) for kv in space.kv_formats for offload in space.offloads()]
    return any(space.least(MICROBATCHES[0], kv, offload) is not None for kv, offload in kinds)


def _ways(space: Space, name: str) -> Iterator[str]:
    if found := _format(space, name):
        yield f"--format {found}"
    if context := _context(space):
        yield f"--context {context}"
    if memory := _host_memory(space):
        yield memory
    if card := _card(space):
        yield card


def _format(space: Space, name: str) -> str:
    """That of the most bytes that fits, of those that the engine reads; empty where none does, or the model is a file of one format."""
    found = list[ModelShape]()
    for format in (one for one in FORMATS if set(files_of(one)) & set(opened_by(space.runtime))):
        with suppress(UserError):
            found.append(models.load(name, format))
    for model in sorted(found, key=lambda one: -one.dense_bytes - one.all_expert_bytes):
        smaller = model.all_expert_bytes < space.shapes[None].all_expert_bytes
        if smaller and _fits(replace(space, shapes=dict.fromkeys(space.kv_formats, model))):
            return model.format
    return ""


def _context(space: Space) -> int:
    """The longest that fits, in whole kilotokens; 0 where not even the least does."""
    fits, too_long = 0, -(-space.context // 1024)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        fits, too_long = (middle, too_long) if _fits(replace(space, context=middle * 1024)) else (fits, middle)
    return fits * 1024


def _host_memory(space: Space) -> str:
    """Enough of it for what the card does not hold; empty where that is not what is missing."""
    cpu, setup = space.hw.cpu, space.easiest
    if cpu is None or space.host_bytes is None or space.free(setup) < 0:
        return ""
    needed = space.host_bytes - _host_left(space)
    size = next(size for size in (2**n for n in range(5, 20)) if size * 2**30 >= needed)
    return f"{size} GiB of host memory (--set tiers.{cpu.memory}.capacity={size}GiB)"


def _card(space: Space) -> str:
    """The smallest of the same maker's that is enough."""
    both = composing.parts(space.hw.name)
    for name in CARDS.get(maker(space.hw), ()):
        with suppress(UserError):
            machine = f"{name}+{both[1]}" if both and both[0] else name
            if _fits(space.on(hardware_profiles.load(machine))):
                return f"--gpu {name}" if both else f"--hw {name}"
    return ""
