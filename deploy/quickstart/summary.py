"""How a run ended: what was counted, whether the law held, and whether the story did. Pure: facts in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collector.sla.promise import rate_text
from deploy.quickstart.story import Chapter, Story
from deploy.quickstart.tally import Tally

FIRST_VERDICTS_WITHIN_S: Final = 20.0
_LATE_SHARE: Final = 0.02

_CHAPTERS_ZH: Final = {
    Chapter.WAITING: "等待首批结论",
    Chapter.BASELINE: "预期的结论成立",
    Chapter.DEGRADED: "枢纽路径劣化",
    Chapter.BREACHED: "违约出现",
    Chapter.RECOVERING: "枢纽路径恢复",
    Chapter.DONE: "结束",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        tally: the source agent's counts shortly before it was drained; None: it did not answer.
        broken: what does not hold of the conservation law, then or when drained.
        breaches: the API's breaches.
        delivered, refused: webhooks received, and those badly signed.
        accuracy: the emulator's account of itself.
        tested: the API's verdicts on the pilot line.
        by_hand: whether somebody ended it; then the story need not have been told.
    """

    tally: Tally | None
    broken: Sequence[str]
    story: Story
    breaches: Sequence[Mapping[str, Any]]
    delivered: int
    refused: int
    accuracy: Mapping[str, Any]
    tested: Sequence[Mapping[str, Any]]
    by_hand: bool

    @property
    def law_held(self) -> bool:
        """Whether every probe was counted once, as far as it could be asked."""
        return self.tally is None or not self.broken

    def held(self) -> bool:
        """Whether all was as it should be."""
        return self.law_held and (self.by_hand or not self._faults())

    def lines(self, lang: str) -> list[tuple[str, str]]:
        """Headings and values, in Chinese (zh) or English (en)."""
        both = [*self._counted(), *self._happened(), *self._tested()]
        if not self.by_hand:
            story = ("故事", "story")
            both += [(story, fault) for fault in self._faults()] or [(story, ("成立", "held"))]
        which = ("zh", "en").index(lang)
        return [(heading[which], value[which]) for heading, value in both]

    def _counted(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        law = ("守恒律", "conservation law")
        sent = ("已发", "sent")
        if self.tally is None:
            unchecked = ("未检查：源代理没有应答", "not checked: the source agent does not answer")
            return [(sent, ("未知", "not known")), (law, unchecked)]
        rows = [(sent, _same(sum(self.tally.sent.values())))]
        for target, number in self.tally.in_flight.items():
            rows.append(((f"  {target} 停止前在途", f"  {target} in flight before the end"), _same(number)))
        for key, number in self.tally.outcomes.items():
            if number:
                rows.append((_same(f"  {' '.join(key)}"), _same(number)))
        held = (
            "成立，排空后也成立：每个探测包恰好计一次，没有遗留在途",
            "held, also when drained: every probe counted once, none left in flight",
        )
        broken = "; ".join(self.broken)
        rows.append((law, (f"不成立：{broken}", f"BROKEN: {broken}") if broken else held))
        return rows

    def _happened(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        opened, closed = len(self.breaches), sum(breach["state"] == "closed" for breach in self.breaches)
        first, accuracy = self.story.first_verdicts_s, self.accuracy
        carried = accuracy["carried"]
        late, stamped, worst_ms = accuracy["late"], accuracy["stamped"], accuracy["worst_us"] / 1000
        return [
            (("违约", "breaches"), (f"出现 {opened}，关闭 {closed}", f"{opened} opened, {closed} closed")),
            (
                ("通知", "webhooks"),
                (
                    f"送达 {self.delivered}，签名错误 {self.refused}",
                    f"{self.delivered} delivered, {self.refused} badly signed",
                ),
            ),
            (
                ("首批结论", "first verdicts"),
                ("没有", "none")
                if first is None
                else (f"启动后 {first:.1f} 秒", f"{first:.1f} s after the start"),
            ),
            (
                ("仿真器", "emulator"),
                (
                    f"{carried} 个包；计时的 {stamped} 个中 {late} 个晚于 0.1 ms，最晚 {worst_ms:.2f} ms",
                    f"{carried} packets; {late} of {stamped} timed more than 0.1 ms late, {worst_ms:.2f} ms at most",
                ),
            ),
        ]

    def _tested(self) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        """What the pilot line carries, each way; at the end what that is worth."""
        for line in self.tested:
            way, last, verdict = line["direction"], line["last_test"], line["verdict"]
            zh, en = ("没有测得速率", "no rate measured")
            if last is not None:
                zh = en = rate_text(last["bits_per_second"]["ip"])
            promise = line["promise"]
            heading = (f"试点线路{'下行' if way == 'down' else '上行'}", f"pilot line {way}")
            yield (
                heading,
                (f"{zh}，承诺 {promise['zh']}：{verdict}", f"{en}, promised {promise['en']}: {verdict}"),
            )
        if self.tested:
            yield (
                ("", ""),
                (
                    "演示速率，任何机器的回环接口都能承载：不是对真实万兆线路的证明",
                    "demonstration rates, which the loopback of any machine carries: no proof of a real 10 Gbit/s line",
                ),
            )

    def _faults(self) -> list[tuple[str, str]]:
        """What was not as it should be."""
        story = self.story
        faults = [(f"与预期不符：{fault}", f"NOT as told: {fault}") for fault in story.faults]
        if story.chapter is not Chapter.DONE:
            zh, en = _CHAPTERS_ZH[story.chapter], story.chapter.value
            faults.append((f"没有演完，停在：{zh}", f"NOT played to its end, it stopped at: {en}"))
        if story.first_verdicts_s is None or story.first_verdicts_s > FIRST_VERDICTS_WITHIN_S:
            faults.append(
                (
                    f"不及时：首批结论应在 {FIRST_VERDICTS_WITHIN_S:.0f} 秒内",
                    f"NOT in time: first verdicts were promised within {FIRST_VERDICTS_WITHIN_S:.0f} s",
                )
            )
        if not self.law_held:
            faults.append(("不守恒：代理的计数对不上", "NOT conserved: an agent's counts do not add up"))
        if faults and self.accuracy["late"] > _LATE_SHARE * self.accuracy["stamped"]:
            faults.append(
                (
                    "仿真器没有及时得到运行：这台机器是否太忙，无法仿真距离？",
                    "the emulator was kept waiting: is this machine too busy to emulate distance?",
                )
            )
        return faults


def _same(value: object) -> tuple[str, str]:
    return str(value), str(value)
