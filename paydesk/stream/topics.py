"""The names of the topics."""

from dataclasses import dataclass

from paydesk.settings import Settings


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a stream; `transactions` may be one of the user's own."""

    transactions: str
    decisions: str
    alerts: str
    dead: str
    counts: str

    @classmethod
    def of(cls, settings: Settings, transactions: str = "") -> "Topics":
        """Those that the settings name."""
        prefix = settings.stream_prefix
        return cls(
            transactions or f"{prefix}transactions",
            f"{prefix}decisions",
            f"{prefix}alerts",
            f"{prefix}dead",
            f"{prefix}counts",
        )
