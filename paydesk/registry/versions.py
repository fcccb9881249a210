"""Versions in MLflow's registry: which there are, who is champion, and their serving form."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from paydesk.errors import PaydeskError
from paydesk.serving_form import ServingFormError, digest, file_digest
from paydesk.tracking_store import (
    CHALLENGER,
    CHAMPION,
    HOLDOUT_DIGEST,
    SERVING,
    SERVING_DIGEST,
    answering,
    without_secrets,
)

_MOST_DIGITS = 9  # of a version's number; databases refuse longer ones in ways of their own
_ABSENT = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


class NoSuchVersionError(PaydeskError):
    """The registry has no such model, version or alias."""


@dataclass(frozen=True)
class Version:
    """A registered version, with the figures and parameters of its run."""

    name: str
    number: str
    aliases: tuple[str, ...]
    run_id: str
    created_ms: int
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


def versions(client: MlflowClient, name: str) -> list[Version]:
    """All versions of `name`, the newest first. Raises StoreUnreachableError."""
    aliased = aliases(client, name)
    with answering(f"The versions of {name} cannot be read from the registry"):
        found = client.search_model_versions(f"name = '{name}'")
        return sorted(
            (_version(client, version, aliased) for version in found),
            key=lambda version: -int(version.number),
        )


def named(client: MlflowClient, name: str, alias_or_number: str) -> Version:
    """The version behind an alias or a number.

    Raises NoSuchVersionError, or StoreUnreachableError when the registry does not say.
    """
    aliased = aliases(client, name)
    is_number = alias_or_number.isascii() and alias_or_number.isdecimal()
    number = alias_or_number if is_number else aliased.get(alias_or_number, "")
    trouble = f"{name}@{alias_or_number} cannot be read from the registry"
    if number and len(number) <= _MOST_DIGITS:
        with answering(trouble):
            try:
                found = client.get_model_version(name, number)
            except MlflowException as error:
                if error.error_code != _ABSENT:
                    raise
            else:
                return _version(client, found, aliased)
    message = (
        f"The registry at {without_secrets(mlflow.get_registry_uri())} has no "
        f"{name}@{alias_or_number}. Train one: python training/train_{name}.py"
    )
    raise NoSuchVersionError(message)


def has_champion(client: MlflowClient, name: str) -> bool:
    """Whether `name` has a version with the alias @champion.

    Raises StoreUnreachableError when the registry does not say: to take that for a no would make an
    unproven version the champion.
    """
    return CHAMPION in aliases(client, name)


def registered(client: MlflowClient, name: str) -> bool:
    """Whether the registry knows `name`, be it without versions. Raises StoreUnreachableError."""
    return _registered(client, name) is not None


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Every alias of `name` with its version's number. Raises StoreUnreachableError."""
    model = _registered(client, name)
    return {} if model is None else {alias: str(at) for alias, at in model.aliases.items()}


def _registered(client: MlflowClient, name: str) -> RegisteredModel | None:
    # By the model, not by the alias: an absent alias is an "invalid parameter" to MLflow, which
    # other mistakes are too; an absent model has a code of its own, which a proxy's 404 has not.
    with answering(f"The registry does not say what it has of {name}"):
        try:
            return client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != _ABSENT:
                raise
            return None


def make_champion(client: MlflowClient, version: Version) -> None:
    """Moves the alias; the version is no longer a challenger. Raises StoreUnreachableError."""
    with answering(f"{version.name} version {version.number} cannot be made the champion"):
        client.set_registered_model_alias(version.name, CHAMPION, version.number)
        if CHALLENGER in version.aliases:
            client.delete_registered_model_alias(version.name, CHALLENGER)


def tag(client: MlflowClient, version: Version, key: str, value: str) -> None:
    """Sets a tag of the version. Raises StoreUnreachableError."""
    with answering(f"{version.name} version {version.number} cannot be tagged {key}"):
        client.set_model_version_tag(version.name, version.number, key, value)


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
            f"{version.run_id}: {without_secrets(error)}. Train again, or choose another version."
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
    """The file of held-out data that was logged with `version`.

    Raises ServingFormError when it is not there, or not the one that was registered.
    """
    files = sorted(path for path in download(version, "holdout", folder).iterdir())
    recorded = version.tags.get(HOLDOUT_DIGEST)
    if len(files) != 1 or file_digest(files[0]) != recorded:
        message = (
            f"{version.name} version {version.number}: the held-out data is not what was "
            f"registered (its SHA-256 differs from {recorded or 'none recorded'}), so nothing can "
            f"be compared on it. Train again, or choose another version."
        )
        raise ServingFormError(message)
    return files[0]


def scratch() -> TemporaryDirectory[str]:
    """A folder to download into, gone afterwards."""
    return TemporaryDirectory(prefix="paydesk-")


def _version(client: MlflowClient, found: ModelVersion, aliased: dict[str, str]) -> Version:
    number = str(found.version)
    run_id = str(found.run_id)
    run = client.get_run(run_id).data
    return Version(
        name=found.name,
        number=number,
        aliases=tuple(alias for alias, at in aliased.items() if at == number),
        run_id=run_id,
        created_ms=int(found.creation_timestamp or 0),
        metrics=dict(run.metrics),
        params=dict(run.params),
        tags=dict(found.tags),
    )
