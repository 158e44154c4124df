"""The scope of a plan: one budget for all layers, a quota for each, or quotas that are fitted to a text: fitted:TRACE, fitted:first=20%."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simmoe.play.popularity import Counted, text_for
from simmoe.simulator.arrays import Flags
from simmoe.simulator.decide.curves import fitted_to
from simmoe.simulator.decide.decisions import FITTED, SCOPES
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.simulator.nouns.trace import Trace


def check_scope(scope: str) -> None:
    """Raises UserError for a scope that is not known."""
    name = named(scope)
    if scope not in SCOPES and (name.name != FITTED or name.values):
        raise UserError(
            f"unknown scope {scope!r}; choose one of {', '.join(SCOPES)}, {FITTED}:TRACE, {FITTED}:first=20%"
        )


def scope_for(
    scope: str, played: Trace, counted: Counted | None, mine: Flags | None = None, player: Player | None = None
) -> str | Fitted:
    """The scope as the machine takes it; fitted to the text that it names, else to the one that is played.

    mine [objects]: what the device has; the text's requests for other experts do not count. Raises UserError.
    """
    check_scope(scope)
    if named(scope).name != FITTED:
        return scope
    text = text_for("scope", scope, played, counted) or played
    if mine is not None:
        here = mine.reshape(text.n_layers, -1)[np.arange(text.n_layers)[:, None], np.maximum(text.expert_ids, 0)]
        text = replace(text, expert_ids=np.where(here, text.expert_ids, np.int16(-1)))
    return fitted_to(scope, requests_of(text), text.n_layers, player)
