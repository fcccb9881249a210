"""The model that a service here would serve, for those who score without one."""

from pathlib import Path

from paydesk import serving_form
from paydesk.bulk.files import Model
from paydesk.errors import PaydeskError
from paydesk.risk.rules import SHIPPED
from paydesk.settings import Settings


def risk_model(settings: Settings) -> Model:
    """The newest risk model of the BentoML store, proven unchanged.

    Raises PaydeskError where there is none, ServingFormError where it was changed.
    """
    from bentoml.exceptions import NotFound  # noqa: PLC0415 (it takes longer than all else here)
    from bentoml.models import get  # noqa: PLC0415

    try:
        model = get("risk:latest")
    except NotFound as error:
        message = "There is no risk model here: `make serve` or `paydesk models pull` gets one."
        raise PaydeskError(message) from error
    described = model.info.metadata
    serving_form.check(Path(model.path), str(described.get("serving_sha256", "")))
    version = str(described.get("registry_version", "unknown"))
    return Model(Path(model.path), f"risk:{version}", settings.rules_file or SHIPPED)
