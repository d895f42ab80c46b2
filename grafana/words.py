"""What people read, in both languages from one source."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

Language = Literal["zh", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)


class Words(NamedTuple):
    """One text in Chinese and in English."""

    zh: str
    en: str

    def of(self, language: Language) -> str:
        """The text in one language."""
        return self.zh if language == "zh" else self.en


def same(text: str) -> Words:
    """What reads the same in both languages."""
    return Words(text, text)


class State(NamedTuple):
    """What a number stands for: a word with a sign of its own, for colour alone tells some people nothing."""

    words: Words
    colour: str


PASS: Final = State(Words("✔ 达标 PASS", "✔ PASS"), "green")
FAIL: Final = State(Words("✘ 不达标 FAIL", "✘ FAIL"), "red")
INDETERMINATE: Final = State(Words("? 无法判定 INDETERMINATE", "? INDETERMINATE"), "yellow")
NO_DATA: Final = State(Words("∅ 无数据 NO_DATA", "∅ NO_DATA"), "purple")

VERDICTS: Final = {"0": PASS, "1": FAIL, "2": INDETERMINATE, "3": NO_DATA}
"""By the value of `isochrone_sla_verdict`."""

BREACHES: Final = {
    "0": State(Words("✔ 无", "✔ none"), "green"),
    "1": State(Words("✘ 违约中", "✘ open"), "red"),
}
"""By the value of `isochrone_sla_breach_open`."""

REACHED: Final = {
    "0": State(Words("✘ 中断", "✘ down"), "red"),
    "1": State(Words("✔ 正常", "✔ up"), "green"),
}
SYNCHRONISED: Final = {
    "0": State(Words("✘ 未同步", "✘ not synchronised"), "red"),
    "1": State(Words("✔ 已同步", "✔ synchronised"), "green"),
}
RESOLVED: Final = {
    "0": State(Words("✘ 地址未知", "✘ address unknown"), "red"),
    "1": State(Words("✔ 已解析", "✔ resolved"), "green"),
}

DIRECTIONS: Final = {
    "forward": Words("去程", "forward"),
    "reverse": Words("回程", "reverse"),
    "round_trip": Words("往返", "round trip"),
    "down": Words("下行", "down"),
    "up": Words("上行", "up"),
}
"""By the `direction` label; the words are those of the collector's page."""

FAULTS: Final = {
    "source_down": State(Words("采集端读不到数据", "the collector's own source"), "purple"),
    "agent_down": State(Words("代理停止", "agent down"), "red"),
    "uplink_down": State(Words("站点失联", "site cut off"), "dark-red"),
    "target_down": State(Words("目标无应答", "target down"), "orange"),
    "direction_down": State(Words("单方向中断", "one direction down"), "dark-orange"),
    "path_down": State(Words("路径中断", "path down"), "yellow"),
    "clock_bad": State(Words("代理时钟失效", "agent's clock bad"), "blue"),
}
"""By the `kind` label of `isochrone_faults`."""

RESULTS: Final = {
    "pass": State(Words("达到", "floor met"), "green"),
    "fail": State(Words("未达到（已确认）", "floor missed, confirmed"), "red"),
    "unconfirmed": State(Words("未达到（未确认）", "floor missed, unconfirmed"), "orange"),
    "inconclusive": State(Words("无结论", "inconclusive"), "yellow"),
    "spoiled": State(Words("受主机所限", "spoiled by a host"), "semi-dark-yellow"),
    "error": State(Words("测试失败", "no test"), "purple"),
    "measured": State(Words("只测速率", "measured only"), "blue"),
}
"""By the `result` label of `isochrone_throughput_tests_total`."""

OUTCOMES: Final = {
    "within": State(Words("限内", "within"), "green"),
    "over": State(Words("超限", "over"), "red"),
    "uncertain": State(Words("不确定", "uncertain"), "yellow"),
    "lost": State(Words("丢失", "lost"), "dark-red"),
    "unattributed": State(Words("丢失，方向不明", "lost, direction unknown"), "dark-orange"),
}
"""By the `outcome` label."""
