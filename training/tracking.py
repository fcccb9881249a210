"""Takes a trained model with all that people look at to MLflow: one run, one registered version."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature

from paydesk.errors import PaydeskError
from paydesk.registry.versions import has_champion
from paydesk.serving_form import digest
from paydesk.tracking_store import CHALLENGER, CHAMPION, SERVING, SERVING_DIGEST, open_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


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


class PublishError(PaydeskError):
    """The store or the disk failed while a model was logged."""


@dataclass(frozen=True)
class Published:
    """Where a product went."""

    name: str
    version: str
    alias: str
    run_id: str


def publish(product: Product, tracking_uri: str) -> Published:
    """Logs `product` in one run of the experiment of its name and registers a version.

    The first version becomes @champion, later ones @challenger. A failure on the way takes the run
    away again, so that no half-logged run is left. Raises PublishError or StoreUnreachableError.
    """
    client = open_store(tracking_uri)
    first = not has_champion(client, product.name)
    mlflow.set_experiment(product.name)
    run_id = mlflow.start_run(run_name=product.run_name).info.run_id
    try:
        version = _log(product, client)
        alias = CHAMPION if first else CHALLENGER
        client.set_registered_model_alias(product.name, alias, version)
    except BaseException as error:
        # Ended first: MLflow refuses to touch a run that is deleted while it is the current one.
        mlflow.end_run("FAILED")
        _discard(client, run_id)
        if isinstance(error, MlflowException | OSError):
            message = (
                f"The {product.name} model could not be logged, nothing of it is kept: {error}"
            )
            raise PublishError(message) from error
        raise
    mlflow.end_run()
    return Published(product.name, version, alias, run_id)


def _log(product: Product, client: MlflowClient) -> str:
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
        registered_model_name=product.name,
    )
    version = str(info.registered_model_version)
    client.set_model_version_tag(product.name, version, SERVING_DIGEST, digest(product.serving))
    client.set_model_version_tag(product.name, version, "data.sha256", product.data_digest)
    client.update_model_version(product.name, version, description=product.card)
    return version


def _discard(client: MlflowClient, run_id: str) -> None:
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        client.delete_model_version(version.name, version.version)
    client.delete_run(run_id)


def _git_commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    here = Path(__file__).parent
    found = subprocess.run(  # noqa: S603 (fixed words)
        [git, "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
