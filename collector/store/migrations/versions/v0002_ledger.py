"""The ledger in the place of readings and blocks.

Breaches, runs and the outbox stay. What was counted in blocks without minutes is not taken over: agents tell all that
they have counted since their start, so the first reading after this step puts the counts of every running agent into
the ledger; what they counted in runs that had ended by then is known no more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make its tables."""
    for name in ("blocks", "readings", "about"):
        op.drop_table(name)
    op.create_table(
        "agents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site", sa.String, nullable=False, unique=True),
    )
    op.create_table(
        "terms",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("limits", sa.String, nullable=False, unique=True),
    )
    op.create_table(
        "heads",
        sa.Column("agent", sa.Integer, sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("taken_ns", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("agent", sa.Integer, sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        sa.Column("last_minute", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "hours",
        sa.Column("path", sa.Integer, sa.ForeignKey("paths.id"), primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True),
        sa.Column("terms", sa.Integer, sa.ForeignKey("terms.id"), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "sums",
        sa.Column("agent", sa.Integer, sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("span", sa.Integer, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
