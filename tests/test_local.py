"""`make serve` and what comes out of it: taken ports, stopping, the bento, `paydesk try`."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, Running, Trained, free_port, serving
from cryptography import x509

from paydesk.certificate import local_certificate


def paydesk(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The CLI in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "paydesk", *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_taken_port_is_one_sentence_with_the_next_step(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = paydesk("serve", "--port", str(port), PAYDESK_HOME=str(tmp_path))
    assert done.returncode == 2
    assert f"Port {port} is taken by another program." in done.stderr
    assert f"make serve PORT={port + 1}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_moved_store_stops_serve_with_what_to_do(trained: Trained, tmp_path: Path) -> None:
    moved = tmp_path / "mlruns"
    shutil.copytree(trained.mlruns, moved)
    done = paydesk(
        *("serve", "--port", str(free_port())),
        PAYDESK_HOME=str(tmp_path / "home"),
        PAYDESK_MLRUNS=str(moved),
    )
    assert done.returncode == 2
    assert "was moved: it still points to" in done.stderr
    assert "Traceback" not in done.stderr


def test_stopping_leaves_nothing_running_and_a_second_start_is_quick(
    trained: Trained, tmp_path: Path
) -> None:
    port = free_port()
    with serving(trained, tmp_path, port) as first:
        httpx.post(f"{first.url}/score", json={"tx_id": "kept", "amount": 1})
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/health")
    assert not _mentioning(str(tmp_path), port)
    again = serving(trained, tmp_path, port)
    with again as second:
        # It neither trained nor pulled: the first start said so, the second does not.
        assert "ready to serve" in first.welcome
        assert "ready to serve" not in second.welcome
        found = httpx.get(f"{second.url}/transaction/kept").json()
        assert found["status"] == "found"
        again.process.send_signal(signal.SIGINT)
        again.process.wait(30)
        assert again.process.returncode == 0


def test_over_https_all_that_the_welcome_says_works(trained: Trained, tmp_path: Path) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    with serving(trained, home, free_port(), tls=True) as started:
        authority = home / "tls" / "ca.pem"
        assert started.welcome.count(f"--cacert '{authority}'") == 4
        for line in started.curl_lines:
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
            assert json.loads(done.stdout).get("sandbox", True) is True
        tried = paydesk("try", "--url", started.url, "--cacert", str(authority))
        assert tried.returncode == 0, tried.stderr
        untrusting = paydesk("try", "--url", started.url)
        assert "Name its authority with --cacert." in untrusting.stderr
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{started.url}/health")
    assert {path.name for path in authority.parent.iterdir()} == {"ca.pem", "cert.pem", "key.pem"}
    assert (home / "tls" / "key.pem").stat().st_mode & 0o077 == 0


def test_a_certificate_is_kept_until_it_ends_and_is_for_this_machine_alone(tmp_path: Path) -> None:
    made = local_certificate(tmp_path)
    before = made.chain.read_bytes()
    assert local_certificate(tmp_path).chain.read_bytes() == before
    certificate = x509.load_pem_x509_certificate(before)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    realm = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert realm.critical
    made.chain.write_text("torn")
    assert local_certificate(tmp_path).chain.read_bytes() not in (before, b"torn")


@pytest.mark.parametrize("written", [["key.pem"], ["key.pem", "cert.pem"]])
def test_a_certificate_whose_making_was_cut_off_is_made_again(
    tmp_path: Path, written: list[str]
) -> None:
    local_certificate(tmp_path / "kept")
    local_certificate(tmp_path / "renewed")
    for name in written:
        shutil.copy(tmp_path / "renewed" / name, tmp_path / "kept" / name)
    made = local_certificate(tmp_path / "kept")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(made.chain, made.key)
    chain = x509.load_pem_x509_certificate(made.chain.read_bytes())
    chain.verify_directly_issued_by(x509.load_pem_x509_certificate(made.authority.read_bytes()))


def test_everything_made_stays_in_the_home_folder(running: Running) -> None:
    made = {path.name for path in running.home.iterdir()}
    assert {"paydesk.db", "bank", "bank.log", "service.log", "models.stamp"} <= made


def test_try_shows_ten_transactions_and_a_mail(running: Running) -> None:
    done = paydesk("try", "--url", running.url)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"│ (TX\d{3}) +│", done.stdout)
    assert rows == [f"TX{n:03d}" for n in range(1, 11)]
    golden = next(line for line in done.stdout.splitlines() if "TX003" in line)
    assert "CRITICAL" in golden
    assert "R1 R2 R3" in golden
    assert "R1: amount > 3000   R2: electronics > 1500   R3: night hour" in done.stdout
    assert re.search(r"amount +1250.00", done.stdout)
    assert re.search(r"currency +EUR", done.stdout)


def test_try_before_what_answers_otherwise_says_that_it_is_no_paydesk(running: Running) -> None:
    done = paydesk("try", "--url", f"{running.url}/echo?")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "is not Paydesk. Start one with `make serve`" in done.stderr


def test_try_without_a_service_says_how_to_start_one() -> None:
    done = paydesk("try", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "Start one with `make serve`" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_built_bento_answers_the_same_from_an_empty_folder(
    trained: Trained, running: Running, tmp_path: Path
) -> None:
    home = tmp_path / "bentoml"
    shutil.copytree(trained.bentoml_home, home)
    environment = {
        **trained.environment,
        "BENTOML_HOME": str(home),
        "PAYDESK_HOME": str(tmp_path / "home"),
        "PAYDESK_ACCESS": "anyone",
    }
    built = subprocess.run(
        [sys.executable, "-m", "bentoml", "build"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    bento = home / "bentos" / "paydesk"
    bento = bento / (bento / "latest").read_text("utf-8").strip()
    inside = [path.relative_to(bento).as_posix() for path in bento.rglob("*") if path.is_file()]
    assert "src/paydesk/risk/rules.toml" in inside
    assert not [name for name in inside if name.startswith(("src/training", "src/tests"))]
    assert not [name for name in inside if name.endswith((".pkl", ".joblib", ".pickle"))]
    away, empty = tmp_path / "away", tmp_path / "empty"
    shutil.move(bento, away)
    empty.mkdir()
    port = free_port()
    with (tmp_path / "bento.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "bentoml", "serve", str(away)),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            cwd=empty,
            env={name: value for name, value in environment.items() if "MLRUNS" not in name},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url)
        tx = {"tx_id": "TX003", "amount": 4500.0, "category": "electronics", "hour": 3}
        email = {"email": "Please pay 1,250.00 EUR to Northwind Traders Ltd."}
        for path, body in (("/score", tx), ("/predict", email)):
            theirs = httpx.post(f"{url}{path}", json=body).json()
            ours = httpx.post(f"{running.url}{path}", json=body).json()
            theirs.pop("decision_id", None)
            ours.pop("decision_id", None)
            assert theirs == ours
        refused = httpx.post(f"{url}/payment", json={"accountA": "a", "accountB": "b", "amount": 1})
        assert refused.status_code == 503
        assert "PAYDESK_BANK_BASE_URL" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) > 0
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_until_healthy(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the service did not start")


def _mentioning(home: str, port: int) -> list[str]:
    """Command lines of processes that still use the folder or the port."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                environment = (entry / "environ").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            ours = f"PAYDESK_HOME={home}" in environment.split("\0")
            if ours or ("serve" in words and str(port) in words):
                found.append(" ".join(words))
    return found


def test_read_gives_a_line_of_json_a_mail_and_exit_code_3_for_bad_ones(
    trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "mails.jsonl").write_text(
        '{"text": "Please pay GBP 450 to Harper Ltd"}\n{"nope": 1}\n', "utf-8"
    )
    home = {"BENTOML_HOME": str(trained.bentoml_home)}
    done = paydesk("read", str(tmp_path / "mails.jsonl"), str(tmp_path / "none.eml"), **home)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (lines[0]["amount"], lines[0]["currency"]) == ("450", "GBP")
    assert ["error" in line for line in lines] == [False, True, True]
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_read_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    done = paydesk("read", "x.txt", BENTOML_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "make serve" in done.stderr
