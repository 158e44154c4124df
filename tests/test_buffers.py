"""Prefetch buffers beside the cache: what guesses in them may change, and the memory that they take."""

from dataclasses import replace

import numpy as np
import pytest

import simmoe
from simmoe import hardware_profiles
from simmoe.play.ladder import climb
from simmoe.play.plan import Plan
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.workloads.format import trace as traces

pytestmark = pytest.mark.skipif("oracle" not in traces.names(), reason="the bundled traces are not made yet")
HW, TOKENS, BUDGET = "rtx_4090", 600, "15%"


def guessing(shift: int) -> Trace:
    """The bundled trace `switch` whose decoded tokens foretell expert + shift of the next layer; its prompts foretell nothing."""
    whole = traces.load("switch")
    ids = whole.expert_ids.astype(np.int64)
    guess = (ids + shift) % whole.n_experts
    guess[np.repeat(whole.phase, np.diff(whole.pass_ptr)) != DECODE] = -1
    guess[:, 0] = -1
    meta = {key: value for key, value in whole.meta.items() if key != "digest"}
    return replace(whole, predict_lead=np.array([1], np.int16), predicted_ids=guess[None].astype(np.int16), meta=meta)


def played(shift: int, **options):
    return simmoe.run(HW, guessing(shift), tokens=TOKENS, budget=BUDGET, **options)


@pytest.mark.slow
@pytest.mark.parametrize("eviction", ["lru", "lfu", "w_tinylfu"])
def test_wrong_guesses_cost_the_link_and_change_nothing_in_the_cache(eviction):
    without = played(1, eviction=eviction)
    buffered = played(1, eviction=eviction, prefetch="next_layer", prefetch_into="buffers")
    cached = played(1, eviction=eviction, prefetch="next_layer")
    assert np.array_equal(buffered.hit, without.hit) and buffered.evictions == without.evictions
    assert buffered.bytes == without.bytes + buffered.counts.prefetches * int(buffered.workload.model.expert_bytes[0])
    assert buffered.tok_s < without.tok_s and cached.hits < buffered.hits


def test_right_guesses_are_all_hits_behind_the_first_layer():
    run = played(0, prefetch="next_layer", prefetch_into="buffers")
    mine = np.repeat(run.workload.trace.phase, np.diff(run.workload.trace.pass_ptr)) == DECODE
    assert run.hit[mine][:, 1:].all() and not run.hit[mine][:, 0].all()
    assert run.bytes == (run.misses + run.counts.prefetches) * int(run.workload.model.expert_bytes[0])


@pytest.mark.slow
def test_one_guess_at_a_time_takes_two_buffers():
    """Top-1: while the guess of one event is computed, the one for the next is loaded."""
    run = played(1, prefetch="next_layer", prefetch_into="buffers")
    (one,) = set(run.workload.model.expert_bytes.tolist())
    assert run.memory_bytes["prefetch buffers"] == run.buffer_bytes == 2 * one
    assert run.memory_bytes["total"] == sum(run.memory_bytes[part] for part in ("dense", "kv", "experts")) + 2 * one
    assert played(1, prefetch="next_layer").buffer_bytes == 0


@pytest.mark.slow
def test_buffers_that_do_not_fit_are_refused_and_a_ladder_goes_on_without_that_rung():
    trace = guessing(1)
    rest = played(1).memory_bytes
    tight = hardware_profiles.load(HW, {"tiers.gddr.capacity": f"{rest['total'] + 10**7} B", "reserved": "0 B"})
    plan = Plan(0, prefetch="next_layer", prefetch_into="buffers")
    with pytest.raises(
        UserError, match=r"prefetch buffers of 33\.6 MB do not fit .* short by 23\.6 MB .*lower --budget by that"
    ):
        simmoe.run(tight, trace, tokens=TOKENS, budget=BUDGET, prefetch="next_layer", prefetch_into="buffers")
    rungs = climb(Workload(tight, trace, tokens=TOKENS), plan).rungs
    assert rungs[0].run is not None
    assert [r.why_not for r in rungs if "device holds" in r.label] == ["does not fit beside the prefetch buffers"]


def test_bad_words_are_refused():
    with pytest.raises(UserError, match="--prefetch-into: unknown 'bufers'; did you mean 'buffers'"):
        played(1, prefetch="next_layer", prefetch_into="bufers")
    with pytest.raises(UserError, match="buffers with --write-back is not modelled"):
        played(1, prefetch="next_layer", prefetch_into="buffers", write_back=True)
