"""Takes a trained model with all that people look at to MLflow: one run, one registered version."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunStatus
from mlflow.models import ModelSignature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.types import ColSpec, Schema

from paydesk.errors import PaydeskError
from paydesk.registry import versions
from paydesk.serving_form import digest, file_digest
from paydesk.tracking_store import (
    CHALLENGER,
    CHAMPION,
    FAILURES,
    HOLDOUT_DIGEST,
    SERVING,
    SERVING_DIGEST,
    experiment,
    open_store,
    without_secrets,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class PublishError(PaydeskError):
    """A trained model did not reach the registry; what there was of it has been taken away."""


@dataclass(frozen=True)
class Product:
    """A trained model, ready to be published.

    `serving` is the folder of the serving form, its parity with `native` already asserted;
    `holdout` the file of held-out data on which promotion compares versions.
    """

    name: str
    run_name: str
    native: Any
    trusted_types: list[str]
    signature: ModelSignature
    input_example: "DataFrame | list[Any]"
    serving: Path
    holdout: Path
    data_source: str
    data_digest: str
    card: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    plots: Mapping[str, "Figure"]
    tables: Mapping[str, "DataFrame"] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """Where a product went."""

    name: str
    version: str
    alias: str
    run_id: str


def signature(features: Sequence[str]) -> ModelSignature:
    """That of a model which takes `features` as numbers and answers with a class."""
    # double, although some never have a fraction: a long column cannot hold a missing value.
    return ModelSignature(
        inputs=Schema([ColSpec("double", name) for name in features]),
        outputs=Schema([ColSpec("long")]),
    )


def ready(name: str, tracking_uri: str) -> MlflowClient:
    """A client of the store, which is made where there is none, once it can take a run of `name`.

    Raises StoreMovedError or StoreUnreachableError: sooner than after minutes of training.
    """
    client = open_store(tracking_uri, create=True)
    experiment(client, name)
    return client


def publish(product: Product, tracking_uri: str) -> Published:
    """Logs `product` in one run of the experiment of its name and registers a version.

    The first version becomes @champion, later ones @challenger. A failure on the way takes away
    what there is by then: version, logged model, run and their files. Raises PublishError,
    StoreMovedError or StoreUnreachableError.
    """
    client = ready(product.name, tracking_uri)
    known = versions.registered(client, product.name)
    parts = _Parts(client, product.name, None if known else product.name)
    try:
        # The experiment is given by its id: choosing it by name would leave it chosen for others.
        run = mlflow.start_run(
            experiment_id=experiment(client, product.name), run_name=product.run_name
        )
        parts.run_id = run.info.run_id
        version = _log(product, client, parts.run_id)
        # Asked as late as can be, and a registry that does not say stops the whole: an unproven
        # version never takes the champion's place.
        alias = CHALLENGER if versions.has_champion(client, product.name) else CHAMPION
        client.set_registered_model_alias(product.name, alias, version)
        mlflow.end_run()
    except BaseException as error:
        left = parts.discard()
        if not isinstance(error, (*FAILURES, PaydeskError)):
            raise
        outcome = f"still there are {', '.join(left)}" if left else "nothing of it is kept"
        message = (
            f"{product.name} was trained but cannot be published, {outcome}: "
            f"{without_secrets(error).strip().rstrip('.')}. Mend that and train again: "
            f"python training/train_{product.name}.py"
        )
        raise PublishError(message) from error
    return Published(product.name, version, alias, parts.run_id)


def _log(product: Product, client: MlflowClient, run_id: str) -> str:
    mlflow.set_tags(
        {
            "data.source": product.data_source,
            "data.sha256": product.data_digest,
            "git.commit": _git_commit(),
            "mlflow.note.content": product.card,
            **product.tags,
        }
    )
    mlflow.log_params(dict(product.params))
    mlflow.log_metrics(dict(product.metrics))
    for name, figure in product.plots.items():
        mlflow.log_figure(figure, f"plots/{name}.png", save_kwargs={"bbox_inches": "tight"})
    for name, table in product.tables.items():
        mlflow.log_table(table, f"tables/{name}.json")
    mlflow.log_text(product.card, "model_card.md")
    mlflow.log_artifacts(str(product.serving), SERVING)
    mlflow.log_artifact(str(product.holdout), "holdout")
    info = mlflow.sklearn.log_model(
        product.native,
        name=product.name,
        signature=product.signature,
        input_example=product.input_example,
        serialization_format="skops",
        skops_trusted_types=product.trusted_types,
        # Left to itself, MLflow finds them out by loading the model in another process: seconds.
        pip_requirements=_requirements(product.trusted_types),
    )
    # Not by log_model: the version would stand for a while without its digests, and be announced.
    if not versions.registered(client, product.name):
        client.create_registered_model(product.name)
    made = client.create_model_version(
        product.name,
        f"models:/{info.model_id}",
        run_id,
        tags={
            SERVING_DIGEST: digest(product.serving),
            HOLDOUT_DIGEST: file_digest(product.holdout),
            "data.sha256": product.data_digest,
        },
        description=product.card,
        model_id=info.model_id,
    )
    return str(made.version)


@dataclass
class _Parts:
    """What one publishing has put into the store, to be taken away when it fails."""

    client: MlflowClient
    name: str
    new_model: str | None
    run_id: str = ""

    def discard(self) -> list[str]:
        """Takes all of it away, the newest first; what could not be, in words."""
        # Ended first: otherwise MLflow would end, at exit, a run that is no more, and say so.
        steps = [("the open run", self._end)]
        if self.run_id:
            steps.append((f"the versions of run {self.run_id}", self._delete_versions))
        if self.new_model is not None:
            steps.append((f"the registered model {self.new_model}", self._delete_empty_model))
        if self.run_id:
            steps.append((f"the logged model of run {self.run_id}", self._delete_logged_models))
            steps.append((f"run {self.run_id}", self._delete_run))
        left = []
        for what, step in steps:
            try:
                step()
            except (*FAILURES, PaydeskError):
                left.append(what)
        return left

    def _end(self) -> None:
        if mlflow.active_run() is not None:
            mlflow.end_run(RunStatus.to_string(RunStatus.FAILED))

    def _delete_versions(self) -> None:
        for version in self.client.search_model_versions(f"run_id = '{self.run_id}'"):
            self.client.delete_model_version(version.name, version.version)

    def _delete_empty_model(self) -> None:
        # Another training may have added a version to it meanwhile.
        if versions.registered(self.client, self.name) and not self.client.search_model_versions(
            f"name = '{self.name}'"
        ):
            self.client.delete_registered_model(self.name)

    def _delete_logged_models(self) -> None:
        experiments = [self.client.get_run(self.run_id).info.experiment_id]
        for model in self.client.search_logged_models(
            experiments, filter_string=f"source_run_id = '{self.run_id}'"
        ):
            get_artifact_repository(model.artifact_location).delete_artifacts()  # type: ignore[no-untyped-call]
            self.client.delete_logged_model(model.model_id)

    def _delete_run(self) -> None:
        place = str(self.client.get_run(self.run_id).info.artifact_uri)
        get_artifact_repository(place).delete_artifacts()  # type: ignore[no-untyped-call]
        _forget_folder(place)
        self.client.delete_run(self.run_id)


def _forget_folder(artifact_uri: str) -> None:
    # artifacts/risk/RUN/artifacts is gone by now; an embedded store would keep the empty RUN.
    if artifact_uri.startswith("file://"):
        folder = Path(artifact_uri.removeprefix("file://")).parent
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _requirements(types: Sequence[str]) -> list[str]:
    """The distributions that the native model needs to be loaded, each at the version in use."""
    owners = metadata.packages_distributions()
    packages = {"mlflow", "skops", "sklearn", "numpy", *(name.partition(".")[0] for name in types)}
    names = sorted({owners[package][0] for package in packages})
    return [f"{name}=={metadata.version(name)}" for name in names]


def _git_commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    here = Path(__file__).parent
    found = subprocess.run(  # noqa: S603 (fixed words)
        [git, "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
