"""Each reader against each named attack, every value exchanged, mutations by the hundred, and whatever was ever found.

`make fuzz` looks for more; what it finds is kept in regressions/ and read here for ever.
"""

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.bombs import WHOLE
from tests.fuzz.judging import Finding, judge, judge_cost
from tests.fuzz.mutation import Form, exchanged, mutated
from tests.fuzz.one import REGRESSIONS
from tests.fuzz.targets import TARGETS, Target

SHORT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@every_target
def test_good_samples_are_taken_at_a_small_cost(target: Target) -> None:
    for sample in target.samples:
        target.read(sample)
        judge_cost(target, sample)


@every_target
def test_each_attack_is_refused_by_name_at_a_small_cost(target: Target) -> None:
    taken = []
    for name, data in WHOLE.items():
        judge_cost(target, data)
        if judge(target, data):
            taken.append(name)
    assert taken == [] or not target.strict


@every_target
def test_each_value_exchanged_is_taken_or_refused_by_name(target: Target) -> None:
    if target.form is Form.BYTES:
        data = target.samples[0]
        tried = [data[:at] for at in range(len(data))] + [data + data, data + b"\0", b"\0" + data]
    else:
        tried = [changed for _, changed in exchanged(target.samples[0], target.form)]
    refused = [changed for changed in tried if not judge(target, changed)]
    assert refused
    for changed in tried[:: max(1, len(tried) // 40)]:
        judge_cost(target, changed)


@every_target
def test_mutations_are_taken_or_refused_by_name(target: Target) -> None:
    @SHORT
    @given(st.sampled_from(target.samples), st.randoms(use_true_random=False))
    def mutations(sample: bytes, random: Random) -> None:
        judge(target, mutated(sample, target.form, random))

    mutations()


@every_target
def test_random_bytes_are_refused_by_name(target: Target) -> None:
    @SHORT
    @given(st.binary(max_size=400))
    def noise(data: bytes) -> None:
        judge(target, data)

    noise()


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_stays_mended(path: Path) -> None:
    judge_cost(TARGETS[path.parent.name], path.read_bytes())


def test_the_judge_sees_a_crash_a_flood_and_a_long_answer() -> None:
    """The judge itself: a reader that fails in each way is found out."""

    def refusing(reason: str) -> Target:
        def read(data: bytes) -> None:
            raise ValueError(reason)

        return Target("refusing", read, (ValueError,), Form.BYTES, (b"",))

    with pytest.raises(Finding, match="KeyError"):
        judge(Target("crashing", {}.__getitem__, (ValueError,), Form.BYTES, (b"",)), b"")
    with pytest.raises(Finding, match="10000 characters"):
        judge(refusing("a" * 10_000), b"")
    with pytest.raises(Finding, match="bytes_peak"):
        judge_cost(Target("greedy", lambda data: bytearray(8 << 20), (), Form.BYTES, (b"",)), b"")
    with pytest.raises(Finding, match="calls"):
        judge_cost(Target("slow", lambda data: [abs(number) for number in range(100_000)], (), Form.BYTES, (b"",)), b"")
    assert judge(refusing("short"), b"") is False
