"""Maintenance windows, and the audit of their changes."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "maintenance",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "maintenance_audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("window_id", sa.String, sa.ForeignKey("maintenance.id"), nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("justification", sa.Text, nullable=False),
    )
