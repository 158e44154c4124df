"""A machine that is said in two parts, --gpu and --host: both become the one name GPU+HOST of --hw, which all else goes by.

A host without a GPU is a machine too, of the name +HOST: its CPU computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from simmoe.simulator.errors import UserError

PARTS = ("gpu", "host")


def joined(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with `hw` in place of `gpu` and `host`, which may be lists: then every GPU in every host. Raises UserError."""
    said = {name: options[name] for name in PARTS if options.get(name) is not None}
    rest = {name: value for name, value in options.items() if name not in PARTS}
    if not said:
        return rest
    if rest.pop("hw", None) is not None:
        raise UserError(
            f"--hw names a whole machine, and --{next(iter(said))} a part of one: give --hw, or --gpu and --host"
        )
    if "host" not in said:
        raise UserError(
            "--host is missing: a machine in two parts is --gpu NAME --host NAME (`simmoe hw list --hosts`), one without GPU --host NAME"
        )
    gpu, host = said.get("gpu", ""), said["host"]
    gpus, hosts = ([*value] if isinstance(value, list | tuple) else [value] for value in (gpu, host))
    machines = [f"{gpu}+{host}" for gpu, host in product(gpus, hosts)]
    several = isinstance(gpu, list | tuple) or isinstance(host, list | tuple)
    return {"hw": machines if several else machines[0], **rest}
