"""With which minute each row of the journal begins, so that only those are read that a window needs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Of the rows that are there it is not known: they are read for all windows, until their hours are settled."""
    op.add_column("journal", sa.Column("first_minute", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("journal_by_minute", "journal", ["agent", "last_minute", "first_minute"])
