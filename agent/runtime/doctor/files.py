"""Files with secrets that the configuration names: whether they are there, and who may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers

SECRET: Final = Check(
    "file.secret",
    Name(
        "没有密钥就不能签名或验证；别人读得到的密钥不再是密钥。",
        "Without its key nothing is signed or verified; a key that others can read is none.",
    ),
)

_OF_OTHERS: Final = 0o077
_CREDENTIALS: Final = Path("/run/credentials")


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """One file of secrets.

    Attributes:
        key: of the configuration that names it.
        path: the file.
        mode: its permissions; None: it was not seen.
        owner: uid; None: it was not seen.
        failure: why it was not seen or cannot be read; empty: it can.
        handed_over: whether it is one that systemd hands to the service alone (LoadCredential=).
        complaint: what its reader says is wrong with its content, without any of it; empty: nothing.
    """

    key: str
    path: Path
    mode: int | None = None
    owner: int | None = None
    failure: str = ""
    handed_over: bool = False
    complaint: str = ""


def judge_secret(facts: SecretFacts) -> Diagnosis:
    """Whether a file can serve, and is a secret."""
    subject = f"{facts.key} {facts.path}"
    mode = "" if facts.mode is None else f"{facts.mode:04o}"
    numbers: Numbers = {"mode": mode or None, "owner": facts.owner}
    if facts.failure and facts.handed_over:
        source = Name(
            "服务在运行时以 root 运行 doctor 才看得到；来源在 /etc/isochrone/….secrets 里，名字去掉 secret_。",
            "Run doctor as root while the service runs. Its source is in /etc/isochrone/….secrets, without the prefix "
            "secret_.",
        )
        return SECRET.note(
            Name(
                f"由 systemd 交给服务，这个进程看不到：{facts.failure}",
                f"handed to the service by systemd, not seen from here: {facts.failure}",
            ),
            source,
            subject,
            numbers,
        )
    if facts.failure:
        return SECRET.problem(
            Name(f"不能读：{facts.failure}", f"cannot be read: {facts.failure}"),
            Name(
                "放上这个文件，只让运行程序的用户可读（chmod 600）；以那个用户或 root 运行 doctor。",
                "Put the file there, readable by the program's user alone (chmod 600), and run doctor as that user or "
                "root.",
            ),
            subject,
            numbers,
        )
    if facts.mode is not None and facts.mode & _OF_OTHERS and not facts.handed_over:
        return SECRET.problem(
            Name(f"别人也能访问（权限 {mode}）", f"others have access to it (mode {mode})"),
            Name(
                f"chmod 600 {facts.path}；并更换其中的密钥。",
                f"chmod 600 {facts.path}, and replace what is in it.",
            ),
            subject,
            numbers,
        )
    if facts.complaint:
        return SECRET.problem(
            Name(f"内容不能用：{facts.complaint}", f"is no good: {facts.complaint}"),
            Name("按 README 的格式重写这个文件。", "Write it anew in the form that the README gives."),
            subject,
            numbers,
        )
    return SECRET.ok(Name(f"可读，权限 {mode}", f"readable, mode {mode}"), subject, numbers)


def judge_secrets(facts: list[SecretFacts]) -> Iterator[Diagnosis]:
    """All of them."""
    return map(judge_secret, facts)


def look_as_service(unit: str) -> None:
    """Take the credentials that systemd has handed to a unit for ours: root may see them, and their modes are its."""
    folder = _CREDENTIALS / unit
    if os.access(folder, os.R_OK | os.X_OK):
        os.environ.setdefault("CREDENTIALS_DIRECTORY", str(folder))


def gather_secret(key: str, path: Path, complaint: str = "") -> SecretFacts:
    """Look at a file, not into it.

    Args:
        complaint: what its reader has said of it.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    handed_over = path.is_relative_to(_CREDENTIALS) or bool(folder and path.is_relative_to(folder))
    try:
        with path.open("rb") as file:
            seen = os.fstat(file.fileno())
    except OSError as error:
        return SecretFacts(key, path, failure=error.strerror or "?", handed_over=handed_over)
    return SecretFacts(key, path, stat.S_IMODE(seen.st_mode), seen.st_uid, "", handed_over, complaint)
