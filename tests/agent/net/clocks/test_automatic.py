"""The choice among those who know the clock."""

from __future__ import annotations

from agent.net.clock import ClockQuality
from agent.net.clocks.automatic import AutomaticClock


class Witness:
    """A clock that says what it is told to when it is asked."""

    def __init__(self, source: str, bound_ns: int | None = None) -> None:
        self.source, self.bound_ns = source, bound_ns
        self.asked = 0
        self.known: int | None = None

    def quality(self) -> ClockQuality:
        return ClockQuality(self.source, self.known, "" if self.known is not None else "no idea")

    async def ask(self) -> None:
        self.asked += 1
        self.known = self.bound_ns

    def stepped(self) -> None:
        self.known = None


async def test_the_first_that_vouches_is_taken() -> None:
    """In the given order; those behind it are not asked."""
    first, second, third = Witness("ptp"), Witness("chrony", 200), Witness("adjtimex", 100)
    clock = AutomaticClock((first, second, third))
    await clock.ask()
    assert clock.quality() == ClockQuality("chrony", 200)
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)


async def test_the_choice_is_made_anew_each_time() -> None:
    """Where the chosen one falls silent the next takes over, and gives way as soon as a better one is back."""
    first, second = Witness("ptp", 10), Witness("chrony", 200)
    clock = AutomaticClock((first, second))
    sources = []
    for bound_ns in (10, None, None, 11):
        first.bound_ns = bound_ns
        await clock.ask()
        sources.append(clock.quality().source)
    assert sources == ["ptp", "chrony", "chrony", "ptp"]


async def test_where_nobody_vouches_all_reasons_are_told() -> None:
    """The source is then none of them."""
    clock = AutomaticClock((Witness("ptp"), Witness("chrony")))
    await clock.ask()
    assert clock.quality() == ClockQuality("unsynchronised", None, "ptp: no idea; chrony: no idea")


async def test_a_step_is_told_to_all() -> None:
    """What the others knew may be used right after it."""
    clock = AutomaticClock((Witness("ptp", 1), Witness("chrony", 2)))
    await clock.ask()
    clock.stepped()
    assert not clock.quality().synchronized


async def test_the_usual_choice_works_on_any_host() -> None:
    """Whatever runs here: an answer from one of the three, or a reason from each."""
    clock = AutomaticClock.usual()
    await clock.ask()
    quality = clock.quality()
    if quality.synchronized:
        assert quality.source in ("ptp", "chrony", "adjtimex")
    else:
        assert [each.split(":")[0] for each in quality.explanation.split("; ")] == [
            "ptp",
            "chrony",
            "adjtimex",
        ]
