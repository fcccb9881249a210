"""Brings a registered version into the BentoML model store, after proof."""

import shutil
from pathlib import Path

import bentoml
from bentoml.exceptions import NotFound
from mlflow import MlflowClient

from paydesk.registry import versions
from paydesk.registry.kinds import KINDS, Kind
from paydesk.registry.promotion import FORCED
from paydesk.registry.versions import Version
from paydesk.serving_form import ServingFormError, check
from paydesk.tracking_store import CHAMPION, SERVING, SERVING_DIGEST


def pull(client: MlflowClient, kind: Kind, version: Version) -> bentoml.Model:
    """The Bento model of `version`: the one already in the store, or a new one.

    The digest, parity on the stored examples and the golden cases are checked before it is stored.
    A version promoted by force keeps its place although a golden case fails: a person said why.
    Raises ServingFormError.
    """
    stored = _stored(kind, version)
    if stored is not None:
        return stored
    with versions.scratch() as folder:
        serving = versions.download(version, SERVING, folder)
        try:
            kind.prove(serving)
        except ServingFormError as error:
            message = (
                f"{version.name} version {version.number} cannot be served. {error} If an older "
                "Paydesk trained it, train a version with this one and promote that."
            )
            raise ServingFormError(message) from error
        failed = kind.golden_failures(serving)
        if failed and FORCED not in version.tags:
            message = (
                f"{version.name} version {version.number} is not served, for the golden cases "
                f"fail: {'; '.join(failed)}. If that is meant: paydesk models promote "
                f'{version.name} {version.number} --force --why "…"'
            )
            raise ServingFormError(message)
        with bentoml.models.create(
            version.name,
            labels={"registry-name": version.name, "registry-version": version.number},
            metadata={
                "registry_name": version.name,
                "registry_version": version.number,
                "run_id": version.run_id,
                "serving_sha256": version.tags[SERVING_DIGEST],
                "data_sha256": version.tags.get("data.sha256", ""),
                "metrics": version.metrics,
            },
        ) as model:
            shutil.copytree(serving, Path(model.path), dirs_exist_ok=True)
    return model


def pull_champions(client: MlflowClient) -> list[bentoml.Model]:
    """The champions of both kinds. Raises NoSuchVersionError or ServingFormError."""
    return [
        pull(client, kind, versions.named(client, name, CHAMPION)) for name, kind in KINDS.items()
    ]


def _stored(kind: Kind, version: Version) -> bentoml.Model | None:
    """The newest model of the store, if it is this version: `latest` is what is served."""
    try:
        newest = bentoml.models.get(f"{version.name}:latest")
    except NotFound:
        return None
    kept = newest.info.metadata
    same = (
        kept.get("registry_version") == version.number
        and kept.get("run_id") == version.run_id
        and kept.get("serving_sha256") == version.tags.get(SERVING_DIGEST)
    )
    if not same:
        return None
    try:
        check(Path(newest.path), str(kept["serving_sha256"]))
        kind.prove(Path(newest.path))
    except ServingFormError:  # Altered since, or by an older Paydesk: a new copy takes its place.
        return None
    return newest


def registry_version(model: bentoml.Model) -> str:
    """The number that the registry gave to what `model` holds."""
    return str(model.info.metadata["registry_version"])
