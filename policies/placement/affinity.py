"""Experts that one token uses together stand on one device, as many of each layer on each device as round_robin puts there.

ExFlow (Yao et al., "Exploiting Inter-Layer Expert Affinity for Accelerating Mixture-of-Experts Model Inference", IPDPS 2024,
arXiv:2401.08383, section IV) places by the experts that a token uses in consecutive layers, by integer programming, for models that use
one expert a layer. Where a token uses several, those of one layer save messages too, so both pairs count: what is made large is how
many pairs of experts that a token uses in one layer, or in one and the next, are on one device. From round_robin, layer by layer, the two
experts of different devices whose exchange gains most change places, until none gains; three times over all layers. affinity:first=50%
counts the first half of the text, which is then not played; affinity:TRACE another one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "devices"
NEEDS = ("text",)
SWEEPS = 3  # over all layers; the second already gains little
ROWS = 2**14  # that are counted at once

Floats = npt.NDArray[np.float64]


def unit_of(
    use: npt.NDArray[np.int64], amount: int, seed: int, cpu: int, text: npt.NDArray[np.int16]
) -> npt.NDArray[np.int8]:
    layers, experts = use.shape
    within, onward = pairs(text, experts)
    device = np.tile(np.arange(experts) % amount, (layers, 1))
    for _ in range(SWEEPS):
        for layer in range(layers):
            pull = np.zeros((experts, amount))
            if layer > 0:
                pull += onward[layer - 1].T @ np.eye(amount)[device[layer - 1]]
            if layer < layers - 1:
                pull += onward[layer] @ np.eye(amount)[device[layer + 1]]
            exchange(device[layer], pull, within[layer])
    return device.astype(np.int8)


def pairs(text: npt.NDArray[np.int16], experts: int) -> tuple[Floats, Floats]:
    """[layers, experts, experts] tokens that use both in one layer, and [layers - 1, …] the first in a layer, the second in the next."""
    layers = text.shape[1]
    within, onward = np.zeros((layers, experts, experts)), np.zeros((max(layers - 1, 0), experts, experts))
    for begin in range(0, len(text), ROWS):
        before = None
        for layer in range(layers):
            row, slot = np.nonzero(text[begin : begin + ROWS, layer] >= 0)
            chosen = np.zeros((len(text[begin : begin + ROWS]), experts), np.float32)  # counts below 2**24 are exact
            chosen[row, text[begin + row, layer, slot]] = 1
            within[layer] += chosen.T @ chosen
            if before is not None:
                onward[layer - 1] += before.T @ chosen
            before = chosen
    within[:, np.arange(experts), np.arange(experts)] = 0
    return within, onward


def exchange(device: npt.NDArray[np.int64], pull: Floats, within: Floats) -> None:
    """Change places in one layer. pull: [experts, devices] pairs with the layers beside it that each expert would have on each device."""
    mine = np.arange(len(device))
    while True:
        there = pull + within @ np.eye(pull.shape[1])[device]
        kept, moved = there[mine, device], there[:, device]  # moved[a, b]: a on the device of b
        gain = moved + moved.T - kept[:, None] - kept[None] - 2 * within
        gain[device[:, None] == device[None]] = 0
        one, other = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[one, other] <= 0:
            return
        device[one], device[other] = device[other], device[one]
