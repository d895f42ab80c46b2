"""The tables. Times are Unix wall time in ns; what is only ever read back whole is JSON."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION: Final = 1

metadata: Final = MetaData()

about: Final = Table("about", metadata, Column("version", Integer, primary_key=True))

paths: Final = Table(
    "paths",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", String, nullable=False),
    Column("target", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("dscp", Integer, nullable=False),
    UniqueConstraint("source", "target", "tier", "provider", "kind", "dscp"),
)

readings: Final = Table(
    "readings",
    metadata,
    Column("path", ForeignKey("paths.id"), primary_key=True),
    Column("epoch", Float, nullable=False),
    Column("taken_ns", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("in_flight", BigInteger, nullable=False),
    Column("directions", Text, nullable=False),
    comment="The last reading of each path: what the next one is compared with.",
)

blocks: Final = Table(
    "blocks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", ForeignKey("paths.id"), nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("directions", Text, nullable=False),
    Column("limits", Text, nullable=False),
    UniqueConstraint("path", "end_ns"),
    Index("blocks_by_end", "end_ns"),
    comment="What each path counted between two readings.",
)

breaches: Final = Table(
    "breaches",
    metadata,
    Column("id", String, primary_key=True),
    Column("opened_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    Column("document", Text, nullable=False),
    Index("breaches_by_opening", "opened_ns"),
)

runs: Final = Table(
    "runs",
    metadata,
    Column("path", ForeignKey("paths.id"), primary_key=True),
    Column("direction", String, primary_key=True),
    Column("objective", String, primary_key=True),
    Column("length", Integer, nullable=False),
    comment="How many evaluations in a row have spoken for opening or closing a breach.",
)

outbox: Final = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("channel", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("next_attempt_ns", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("delivered_ns", BigInteger),
    Column("abandoned", Integer, nullable=False),
    Column("last_error", String, nullable=False),
    Index("outbox_by_channel", "channel"),
    comment="What is told to whom; a row is written with the breach change that it tells of.",
)
