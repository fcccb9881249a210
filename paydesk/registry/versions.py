"""Versions in MLflow's registry: which there are, who is champion, and their serving form."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from paydesk.errors import PaydeskError
from paydesk.serving_form import ServingFormError, digest
from paydesk.tracking_store import (
    CHALLENGER,
    CHAMPION,
    SERVING,
    SERVING_DIGEST,
    StoreUnreachableError,
)


class NoSuchVersionError(PaydeskError):
    """The registry has no such model, version or alias."""


@dataclass(frozen=True)
class Version:
    """A registered version, with the figures of its run."""

    name: str
    number: str
    aliases: tuple[str, ...]
    run_id: str
    created_ms: int
    metrics: dict[str, float]
    tags: dict[str, str]


def versions(client: MlflowClient, name: str) -> list[Version]:
    """All versions of `name`, the newest first."""
    found = client.search_model_versions(f"name = '{name}'")
    aliased = _aliases(client, name)
    return sorted(
        (_version(client, version, aliased) for version in found),
        key=lambda version: -int(version.number),
    )


def named(client: MlflowClient, name: str, alias_or_number: str) -> Version:
    """The version behind an alias or a number. Raises NoSuchVersionError."""
    try:
        if alias_or_number.isdigit():
            found = client.get_model_version(name, alias_or_number)
        else:
            found = client.get_model_version_by_alias(name, alias_or_number)
    except MlflowException as error:
        message = (
            f"The registry at {mlflow.get_registry_uri()} has no {name}@{alias_or_number}. "
            f"Train one: python training/train_{name}.py"
        )
        raise NoSuchVersionError(message) from error
    return _version(client, found, _aliases(client, name))


def has_champion(client: MlflowClient, name: str) -> bool:
    """Whether `name` has a version with the alias @champion.

    Raises StoreUnreachableError when the registry does not say: to take that for a no would make an
    unproven version the champion.
    """
    return CHAMPION in _aliases(client, name)


def make_champion(client: MlflowClient, version: Version) -> None:
    """Moves the alias; the version is no longer a challenger."""
    client.set_registered_model_alias(version.name, CHAMPION, version.number)
    if CHALLENGER in version.aliases:
        client.delete_registered_model_alias(version.name, CHALLENGER)


def download(version: Version, part: str, folder: str) -> Path:
    """A folder of the version's run (`serving` or `holdout`), fetched into `folder`.

    Raises ServingFormError when it is not there, or the serving form's digest is not the one that
    was recorded when it was registered.
    """
    try:
        fetched = Path(
            mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path=part, dst_path=folder
            )
        )
    except (MlflowException, OSError) as error:
        message = (
            f"{version.name} version {version.number}: its {part} files cannot be fetched from run "
            f"{version.run_id}: {error}. Train again, or choose another version."
        )
        raise ServingFormError(message) from error
    if part == SERVING and digest(fetched) != version.tags.get(SERVING_DIGEST):
        message = (
            f"{version.name} version {version.number}: the serving form is not the one registered "
            f"(its SHA-256 differs): do not use it. Train again, or choose another version."
        )
        raise ServingFormError(message)
    return fetched


def holdout(version: Version, folder: str) -> Path:
    """The file of held-out data that was logged with `version`."""
    return next(path for path in download(version, "holdout", folder).iterdir())


def scratch() -> TemporaryDirectory[str]:
    """A folder to download into, gone afterwards."""
    return TemporaryDirectory(prefix="paydesk-")


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    try:
        return dict(client.get_registered_model(name).aliases)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return {}
        message = f"The registry does not say what it has of {name}: {error}. Try again."
        raise StoreUnreachableError(message) from error


def _version(client: MlflowClient, found: ModelVersion, aliased: dict[str, str]) -> Version:
    number = str(found.version)
    run_id = str(found.run_id)
    return Version(
        name=found.name,
        number=number,
        aliases=tuple(alias for alias, at in aliased.items() if str(at) == number),
        run_id=run_id,
        created_ms=int(found.creation_timestamp or 0),
        metrics=dict(client.get_run(run_id).data.metrics),
        tags=dict(found.tags),
    )
