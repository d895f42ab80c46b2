"""The tables, on SQLite and PostgreSQL alike. Times are Unix wall time in ns; what is only ever read back whole is
JSON, or a block of `collector.ledger.codec`.

What is written here is made by the migrations, step by step; a test holds the two against each other.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata: Final = MetaData()

agents: Final = Table(
    "agents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("site", String, nullable=False, unique=True),
)

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

terms: Final = Table(
    "terms",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("limits", String, nullable=False, unique=True),
)
"""Against which limits outcomes were counted, and from probe to probe in which interval."""

heads: Final = Table(
    "heads",
    metadata,
    Column("agent", ForeignKey("agents.id"), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("taken_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""The most that was read of each agent's counters; the revision counts the times that this has changed."""

journal: Final = Table(
    "journal",
    metadata,
    Column("agent", ForeignKey("agents.id"), primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("last_minute", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("first_minute", BigInteger, nullable=False, server_default="0"),
    Index("journal_by_minute", "agent", "last_minute", "first_minute"),
)
"""What each change of an agent's head has added, until it is put into the blocks of its hours."""

hours: Final = Table(
    "hours",
    metadata,
    Column("path", ForeignKey("paths.id"), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("terms", ForeignKey("terms.id"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""The minutes of a path in an hour (since the Unix epoch)."""

sums: Final = Table(
    "sums",
    metadata,
    Column("agent", ForeignKey("agents.id"), primary_key=True),
    Column("span", Integer, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""What all paths of an agent have counted in a span of so many minutes, that begins with this one: hours and days."""

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
)
"""How many evaluations in a row have spoken for opening or closing a breach."""

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
)
"""What is told to whom; a row is written with the breach change that it tells of."""

maintenance: Final = Table(
    "maintenance",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_ns", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
"""All maintenance windows that there ever were, as they are now."""

maintenance_audit: Final = Table(
    "maintenance_audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("window_id", ForeignKey("maintenance.id"), nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("who", String, nullable=False),
    Column("action", String, nullable=False),
    Column("before", Text),
    Column("after", Text, nullable=False),
    Column("justification", Text, nullable=False),
)
"""What has made them so: each change, in order, with the window before and after; never changed itself."""
