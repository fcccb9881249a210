"""deploy/: manifests that a cluster takes, and a dashboard whose panels show something."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import ROOT, Trained
from payments_bank import running_sandbox
from prometheus_server import CONFIGURATION, Prometheus, program, prometheus
from service_process import Service, new_key

from paydesk import __version__
from paydesk.payments.sandbox import sandbox_settings
from paydesk.settings import PAYMENT_WAIT_S, BankSettings, Settings

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "k8s").glob("*.yaml"))
RESOURCES = [path for path in MANIFESTS if path.name != "kustomization.yaml"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/paydesk.json").read_text("utf-8"))
KUBERNETES = ("1.30", "1.37")  # the oldest that has a preStop of type sleep, and a new one


def manifest(name: str) -> Any:
    """A Kubernetes object of deploy/k8s."""
    return yaml.safe_load((DEPLOY / "k8s" / name).read_text("utf-8"))


def is_setting(name: str) -> bool:
    """Whether Paydesk reads a setting of this name."""
    short = name.lower().removeprefix("paydesk_")
    return short in Settings.model_fields or (
        short.startswith("bank_") and short.removeprefix("bank_") in BankSettings.model_fields
    )


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.stem)
def test_kubernetes_takes_every_manifest(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text("utf-8")), version, strict=True)


def test_a_manifest_with_a_slip_is_refused() -> None:
    wrong = manifest("deployment.yaml")
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


def test_what_is_applied_together_is_there() -> None:
    whole = manifest("kustomization.yaml")
    apart = {"kustomization.yaml", "migration-job.yaml", "keys-job.yaml", "secret.example.yaml"}
    assert sorted(whole["resources"]) == sorted({path.name for path in MANIFESTS} - apart)
    (image,) = whole["images"]
    assert image["newTag"].startswith(__version__)
    for name in ("migration-job.yaml", "keys-job.yaml"):
        job = manifest(name)["spec"]["template"]["spec"]["containers"][0]
        assert job["image"] == f"{image['newName']}:{image['newTag']}"


def test_everything_selects_the_service_s_pods_only() -> None:
    labels = manifest("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    migration = manifest("migration-job.yaml")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifest("deployment.yaml")["spec"]["selector"]["matchLabels"],
        manifest("service.yaml")["spec"]["selector"],
        manifest("pdb.yaml")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= migration.items()
    both = manifest("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"]
    assert both.items() <= labels.items()
    assert both.items() <= migration.items()
    assert manifest("hpa.yaml")["spec"]["scaleTargetRef"]["name"] == "paydesk"


@pytest.mark.parametrize("name", ["deployment.yaml", "migration-job.yaml", "keys-job.yaml"])
def test_pods_are_restricted(name: str) -> None:
    pod = manifest(name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"] == "512Mi"
    (secret,) = (v["secret"] for v in pod["volumes"] if "secret" in v)
    assert secret["defaultMode"] == 0o440


def test_a_replica_goes_only_when_another_is_ready_and_nobody_sends_to_it() -> None:
    spec = manifest("deployment.yaml")["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    drained_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = next(int(e["value"]) for e in container["env"] if e["name"] == "PAYDESK_GRACE_S")
    assert grace_s > PAYMENT_WAIT_S
    assert drained_s + grace_s < pod["terminationGracePeriodSeconds"]


def test_compose_follows_its_specification(tmp_path: Path) -> None:
    def check(path: Path) -> int:
        schema = ("--builtin-schema", "vendor.compose-spec")
        command = [sys.executable, "-m", "check_jsonschema", *schema, str(path)]
        return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode

    assert check(DEPLOY / "compose.yaml") == 0
    wrong = tmp_path / "compose.yaml"
    slip = {**COMPOSE["services"]["paydesk"], "read_onyl": True}
    wrong.write_text(yaml.safe_dump({"services": {"paydesk": slip}}), encoding="utf-8")
    assert check(wrong) == 1


def test_compose_names_versions_and_files_that_are_there() -> None:
    services: Mapping[str, Any] = COMPOSE["services"]
    assert services["paydesk"]["image"].endswith(f"paydesk:{__version__}}}")
    locked = (ROOT / "requirements/train.txt").read_text("utf-8")
    mlflow = re.search(r"^mlflow==(\S+)", locked, re.MULTILINE)
    assert mlflow
    assert services["mlflow"]["image"].endswith(f":v{mlflow[1]}")
    for service in services.values():
        for mounted in service.get("volumes", ()):
            source = mounted.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), mounted
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    ignored = (ROOT / ".gitignore").read_text("utf-8").split()
    assert "/deploy/secrets/" in ignored
    assert all(s["file"].startswith("./secrets/") for s in COMPOSE["secrets"].values())


def test_every_setting_that_is_named_is_one() -> None:
    named = set()
    for path in (*DEPLOY.glob("*.yaml"), *MANIFESTS, ROOT / "docs/deploy.md"):
        named |= set(re.findall(r"\bpaydesk_[a-z_]+\b", path.read_text("utf-8"), re.IGNORECASE))
    named -= {"PAYDESK_IMAGE"}  # Compose's own
    assert named
    assert not [name for name in named if not is_setting(name)]


def test_prometheus_takes_its_configuration() -> None:
    command = [program("promtool"), "check", "config", "--syntax-only", str(CONFIGURATION)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def scraped(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, Service]]:
    """Prometheus, and the service that it scrapes, which has answered and paid."""
    home = tmp_path_factory.mktemp("prometheus")
    program("prometheus")
    with running_sandbox(home) as bank:
        settings = {
            f"PAYDESK_BANK_{name.upper()}": str(
                value.get_secret_value() if name == "client_secret" else value
            )
            for name, value in sandbox_settings(bank.url)
            if value
        }
        service = Service(trained, home, {**settings, "PAYDESK_ACCESS": "keys"})
        key = new_key(service, "score", "pay")
        scraping = new_key(service, "read")  # what docs/deploy.md gives to Prometheus
        with service, prometheus(home, f"127.0.0.1:{service.port}", scraping) as started:
            with service.client(key) as client:
                for step in range(8):  # over some scrapes, so that there are rates
                    for amount in (20.0, 1800.0, 3500.0, 9000.0):
                        tx = {"amount": amount, "category": "electronics", "tx_id": f"d{step}"}
                        assert client.post("/score", json=tx).status_code == 200
                    assert client.get("/stats").status_code == 200
                    time.sleep(0.5)
                order = {"accountA": "Northwind", "accountB": "Contoso", "amount": "12.00"}
                assert client.post("/payment", json=order).status_code == 201
            time.sleep(2.5)
            yield started, service


def panels() -> list[tuple[str, str]]:
    """Every panel's title with each of its queries, as Grafana would send it."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in (
                *(("$instance", ".*"), ("$route", "/score")),
                *(("$__rate_interval", "30s"), ("$__range", "30s")),
            ):
                query = query.replace(variable, value)
            found.append((panel["title"], query))
    return found


def test_every_panel_of_the_dashboard_shows_something(
    scraped: tuple[Prometheus, Service],
) -> None:
    for title, query in panels():
        assert "$" not in query
        result = scraped[0].ask(query)
        assert result, f"{title}: {query}"
        assert not any(point["value"][1] == "NaN" for point in result), f"{title}: {query}"


def test_panels_show_what_happened(scraped: tuple[Prometheus, Service]) -> None:
    started, service = scraped
    by_title = dict(panels())

    def shown(title: str, label: str) -> dict[str, float]:
        found = started.ask(by_title[title])
        return {point["metric"].get(label, ""): float(point["value"][1]) for point in found}

    # The shipped rules: 20 none, 1800 R2, 3500 and 9000 R1 and R2. The first scrape gives no rate,
    # so what is seen is most of it, not all.
    levels = shown("Decisions by level", "level")
    assert set(levels) == {"LOW", "MEDIUM", "HIGH", "CRITICAL"}
    assert levels["HIGH"] == 0
    assert levels["CRITICAL"] > levels["MEDIUM"] > 0
    assert 0.35 < shown("HIGH and CRITICAL", "")[""] < 0.65
    assert shown("Payments by state", "state")["accepted"] == 1
    assert shown("Payments of unknown outcome", "") == {"": 0}
    assert shown("Answers with 5xx", "") == {"": 0}
    assert shown("Replicas that answer", "") == {"": 1}
    assert shown("Models served", "model") == {"risk": 1, "entities": 1}
    for variable in DASHBOARD["templating"]["list"]:
        metric, label = re.findall(r"[\w]+", variable["query"]["query"])[1:]
        assert started.values(label, metric)
    assert f"127.0.0.1:{service.port}" in started.values("instance", "paydesk_model_info")


def test_panels_ask_for_metrics_that_the_service_has(
    scraped: tuple[Prometheus, Service],
) -> None:
    known = set(scraped[0].values("__name__", '{job="paydesk"}'))
    for _, query in panels():
        assert set(re.findall(r"\bpaydesk_\w+", query)) <= known
