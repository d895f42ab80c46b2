"""The tables of version 0.1: readings and blocks as JSON, breaches, and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table("about", sa.Column("version", sa.Integer, primary_key=True))
    op.create_table(
        "paths",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("tier", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("dscp", sa.Integer, nullable=False),
        sa.UniqueConstraint("source", "target", "tier", "provider", "kind", "dscp"),
    )
    op.create_table(
        "readings",
        sa.Column("path", sa.Integer, sa.ForeignKey("paths.id"), primary_key=True),
        sa.Column("epoch", sa.Float, nullable=False),
        sa.Column("taken_ns", sa.BigInteger, nullable=False),
        sa.Column("sent", sa.BigInteger, nullable=False),
        sa.Column("in_flight", sa.BigInteger, nullable=False),
        sa.Column("directions", sa.Text, nullable=False),
    )
    op.create_table(
        "blocks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("path", sa.Integer, sa.ForeignKey("paths.id"), nullable=False),
        sa.Column("start_ns", sa.BigInteger, nullable=False),
        sa.Column("end_ns", sa.BigInteger, nullable=False),
        sa.Column("sent", sa.BigInteger, nullable=False),
        sa.Column("directions", sa.Text, nullable=False),
        sa.Column("limits", sa.Text, nullable=False),
        sa.UniqueConstraint("path", "end_ns"),
    )
    op.create_table(
        "breaches",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("opened_ns", sa.BigInteger, nullable=False),
        sa.Column("closed_ns", sa.BigInteger),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("breaches_by_opening", "breaches", ["opened_ns"])
    op.create_table(
        "runs",
        sa.Column("path", sa.Integer, sa.ForeignKey("paths.id"), primary_key=True),
        sa.Column("direction", sa.String, primary_key=True),
        sa.Column("objective", sa.String, primary_key=True),
        sa.Column("length", sa.Integer, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_ns", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("delivered_ns", sa.BigInteger),
        sa.Column("abandoned", sa.Integer, nullable=False),
        sa.Column("last_error", sa.String, nullable=False),
    )
    op.create_index("outbox_by_channel", "outbox", ["channel"])
