"""Agents, held against the plan."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Limit, Operator
from agent.runtime.doctor.diagnosis import Diagnosis, Severity
from agent.runtime.doctor.reach import MOST_SHOWN, NameAnswer
from collector.doctor.agents import AgentFacts, facts_of, gather_agents, judge_agents
from collector.fleet.plan import compile_plan
from collector.sources.query_api import Access
from collector.sources.samples import AgentReading
from tests.support.fleets import FLEET, fleet
from tests.support.processes import agent_command, eventually, free_port, running

MS = 1_000_000
CITY = Limit(MS, Operator.BELOW)

agents = st.builds(
    AgentFacts,
    site=st.sampled_from(["wuhan", "guanggu"]),
    address=st.just("192.0.2.1:9461"),
    failure=st.sampled_from(["", "no answer"]),
    clock_source=st.none() | st.just("chrony"),
    clock_bound_ns=st.none() | st.integers(0, 3 * MS),
    strictest=st.none() | st.just(CITY),
)


def severities(found: list[Diagnosis], id_: str) -> list[Severity]:
    """Of the diagnoses of one kind."""
    return [one.severity for one in found if one.id == id_]


@given(st.lists(agents, min_size=1, max_size=40))
def test_who_is_not_read_is_a_problem_and_judged_no_further(facts: list[AgentFacts]) -> None:
    """One by one as long as they are few."""
    found = list(judge_agents(facts, "agents"))
    failed = sum(bool(one.failure) for one in facts)
    problems = severities(found, "agent.read").count(Severity.PROBLEM)
    assert problems == min(failed, MOST_SHOWN) + (failed > MOST_SHOWN)
    assert all(one.severity <= Severity.WARNING for one in found if one.id != "agent.read")
    short = [
        one
        for one in facts
        if not one.failure and one.strictest and (one.clock_bound_ns is None or one.clock_bound_ns >= MS)
    ]
    warned = severities(found, "agent.clock").count(Severity.WARNING)
    assert warned == min(len(short), MOST_SHOWN) + (len(short) > MOST_SHOWN)


def test_a_fleet_without_agents_is_warned_of() -> None:
    """Nobody would measure anything."""
    assert severities(list(judge_agents([], "agents")), "agent.read") == [Severity.WARNING]


def test_paths_that_an_agent_does_not_measure_are_missing() -> None:
    """The plan says which it should; of one that was not read nothing is known."""
    plan = compile_plan(fleet())
    read, unread = facts_of(
        plan,
        [
            AgentReading("wuhan", True, "", 1, (), "chrony", 2 * MS),
            AgentReading("guanggu", False, "refused", 1),
        ],
    )
    assert (read.asked, len(read.missing), read.strictest) == (2, 2, CITY)
    assert (unread.failure, unread.missing, unread.strictest) == ("refused", (), None)
    found = list(judge_agents([read, unread], "agents"))
    assert severities(found, "agent.plan") == [Severity.WARNING]
    (warning,) = [one for one in found if one.id == "agent.plan"]
    assert warning.remedy is not None
    assert "plan --site wuhan" in warning.remedy.en


async def test_running_agents_are_read(tmp_path: Path) -> None:
    """Over HTTP, as the collector does; one that is down is told with the reason."""
    port, down = free_port(), free_port()
    text = FLEET.replace("9461", str(port)).replace("9462", str(down))
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"site: wuhan\nlisten: 127.0.0.1:{port}\nclock: {{source: declared, error_bound: 50us}}\n"
        "paths:\n- {target: guanggu, tier: city, provider: telecom, address: '127.0.0.1:9', "
        "limits: {forward: '< 1ms'}}\n"
    )
    settings = fleet(text)
    names = {"127.0.0.1": NameAnswer(("127.0.0.1",))}

    async def facts() -> list[AgentFacts]:
        return await gather_agents(settings, compile_plan(settings), names, Access())

    async with running(agent_command("run", "--config", config), tmp_path / "log"):

        async def reads() -> bool:
            return not (await facts())[0].failure

        await eventually(reads, "the agent is read")
        wuhan, guanggu = await facts()
    assert (wuhan.clock_source, wuhan.clock_bound_ns) == ("declared", 50_000)
    assert (wuhan.asked, [path.target for path in wuhan.missing]) == (2, ["qingyang"])
    assert "Connect call failed" in guanggu.failure
