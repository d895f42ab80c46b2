"""Terms say the interval of probes, beside the limits."""

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """No table changes: programs of before do not understand such terms, and are told by the version."""
