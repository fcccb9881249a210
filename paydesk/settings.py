"""Every setting of Paydesk, once: environment (prefix PAYDESK_) or files in /run/secrets."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from paydesk.errors import PaydeskError

# Where Docker, podman, Compose and our Kubernetes manifests mount secrets: a file a setting, named
# like it, in either case. The environment goes first.
_SECRETS = Path("/run/secrets")
_SECRETS_DIR = _SECRETS if _SECRETS.is_dir() else None

# What a caller waits for a payment at most. The bank's own deadline ends before: its outcome is
# what the answer says.
PAYMENT_WAIT_S = 50


class SettingsError(PaydeskError):
    """A setting has a value that cannot be used; the message names it."""


def _split(text: object) -> object:
    if isinstance(text, str):
        return tuple(part for part in text.replace(",", " ").split() if part)
    return text


def _an_origin(text: str) -> str:
    scheme, found, host = text.partition("://")
    if not (scheme and found and host) or "/" in host or "*" in text:
        raise ValueError(f"{text!r} is not an origin like https://desk.example")
    return text


_Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_an_origin)], ...], NoDecode, BeforeValidator(_split)
]


class BankSettings(BaseSettings):
    """Where payments go, and who pays by default (prefix PAYDESK_BANK_).

    `base_url` empty means that no bank is configured: /payment then answers 503.
    `sandbox` says that the bank is Paydesk's own sandbox; every answer repeats it.
    """

    model_config = SettingsConfigDict(env_prefix="PAYDESK_BANK_", secrets_dir=_SECRETS_DIR)

    base_url: str = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    token_path: str = "/login/v1/sandbox/oidc/token"  # noqa: S105 (a path)
    initiate_path: str = "/payment/payment-initiation/v1/credit-transfer/international/initiate"
    status_path: str = "/payment/payment-initiation/v1/credit-transfer/international/{id}/status"
    sandbox: bool = False
    ca_bundle: Path | None = None
    proxy: SecretStr = Field(default=SecretStr(""), description="May hold a password.")
    connect_timeout_s: float = Field(default=3.0, gt=0)
    read_timeout_s: float = Field(default=10.0, gt=0)
    deadline_s: float = Field(
        default=25.0, gt=0, le=PAYMENT_WAIT_S, description="All tries of one call together."
    )

    initiating_party: str = ""
    debtor_agent: str = Field(default="", description="The paying bank's BIC.")
    debtor_account: str = Field(default="", description="The paying account, an IBAN.")
    debtor_account_currency: str = "EUR"
    creditor_agent: str = Field(default="", description="The default payee bank's BIC.")
    creditor_account: str = Field(default="", description="The default payee account, an IBAN.")
    creditor_address: str = ""
    charge_bearer: str = "SHA"
    instruction_priority: str = "NORM"
    default_currency: str = Field(default="EUR", description="Where a payment names none.")
    source_id: str = ""
    duplicate_window_s: int = Field(
        default=86_400, ge=0, description="Same payee, payer, amount and currency without a key."
    )


class Settings(BaseSettings):
    """What the service, the CLI and training share."""

    model_config = SettingsConfigDict(env_prefix="PAYDESK_", secrets_dir=_SECRETS_DIR)

    home: Path = Field(default=Path(".paydesk"), description="All that Paydesk creates.")
    scratch: Path | None = Field(
        default=None, description="What need not outlive the server; empty: the home folder."
    )
    database_url: str = Field(default="", description="Empty: SQLite in the home folder.")
    migration: Literal["at_start", "by_hand"] = Field(
        default="at_start",
        description="by_hand: only `paydesk migrate` changes the schema, and no start without.",
    )
    grace_s: int = Field(
        default=7, ge=0, description="What requests in flight get when `paydesk run` is stopped."
    )
    jobs_bytes: int = Field(
        default=2 * 1024**3, gt=0, description="Disk for jobs: bodies that wait, and results."
    )
    tracking_uri: str = Field(default="", description="Empty: the embedded MLflow store.")
    mlruns: Path = Path("mlruns")
    hold_payments_from: Literal["MEDIUM", "HIGH", "CRITICAL", "NEVER"] = Field(
        default="CRITICAL", description="The risk from which a person has to say why it may go."
    )
    rules_file: Path | None = Field(default=None, description="Empty: the rules shipped.")

    brokers: str = Field(
        default="127.0.0.1:9092", description="Kafka's brokers, HOST:PORT, separated by commas."
    )
    kafka_file: Path | None = Field(
        default=None,
        description="Further settings of the Kafka client, NAME=VALUE a line: TLS, passwords.",
    )
    stream_prefix: str = Field(
        default="paydesk.",
        pattern=r"^[A-Za-z0-9._-]{0,200}$",
        description="How the names of all topics, groups and transactional ids begin.",
    )

    access: Literal["keys", "local", "anyone"] = Field(
        default="keys",
        description="keys: API keys; local: this machine, without; anyone: without any key.",
    )
    allowed_origins: _Origins = Field(
        default=(), description="Web origins that may call (CORS), separated by commas."
    )
    rate_limit_per_s: float | None = Field(
        default=None, gt=0, description="Requests a second, a key and worker; empty: no limit."
    )

    @classmethod
    def read(cls) -> Self:
        """The settings of this environment. Raises SettingsError."""
        try:
            settings = cls()
            _ = settings.bank
        except ValidationError as error:
            # Without the value that was found: it may be a secret.
            first = error.errors(include_input=False, include_url=False)[0]
            bank = error.title == BankSettings.__name__
            prefix = "PAYDESK_BANK_" if bank else "PAYDESK_"
            name = prefix + str(first["loc"][0]).upper()
            message = f"{name} cannot be used: {first['msg']}. Set it right, or unset it."
            raise SettingsError(message) from None
        except UnreadableError as error:
            message = f"A setting cannot be used: {error}."
            if isinstance(cause := error.__cause__, OSError):
                message = (
                    f"The secret file {cause.filename} cannot be read ({cause.strerror}): let the "
                    "user that Paydesk runs as read it."
                )
            raise SettingsError(message) from None
        return settings

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the one database."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'paydesk.db'}"

    @cached_property
    def bank(self) -> BankSettings:
        """The bank's settings, read on first use."""
        return BankSettings()
