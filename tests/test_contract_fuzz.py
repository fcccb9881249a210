"""Schemathesis: what the OpenAPI document says is what the service does, whatever it is sent.

`PAYDESK_FUZZ_EXAMPLES` sets the examples an operation; 20,000 cases in all need about 900.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, Trained
from payments_bank import bank_environment, running_sandbox
from service_process import Service, new_key

from paydesk.payments.sandbox import SandboxOptions

EXAMPLES = int(os.environ.get("PAYDESK_FUZZ_EXAMPLES", "25"))


@pytest.mark.timeout(7_200)
def test_every_answer_is_the_one_documented(trained: Trained, tmp_path: Path) -> None:
    with running_sandbox(tmp_path, SandboxOptions(settles_after_s=0.0)) as bank:
        settings = {"PAYDESK_ACCESS": "keys", **bank_environment(bank)}
        service = Service(trained, tmp_path, settings)
        key = new_key(service, "score", "read", "pay")
        with service:
            done = subprocess.run(
                [
                    *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
                    *(str(ROOT / "tests" / "schemathesis.toml"), "run"),
                    *(f"{service.url}/openapi.json", "-H", f"Authorization: Bearer {key}"),
                    *("-c", "all", "-n", str(EXAMPLES), "--request-timeout", "30"),
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            print(done.stdout[-3_000:])  # noqa: T201 (the number of cases)
            assert done.returncode == 0, done.stdout + done.stderr
            generated = re.search(r"([\d,]+) generated", done.stdout)
            assert generated is not None
            assert int(generated[1].replace(",", "")) > 500
            assert httpx.get(f"{service.url}/health").status_code == 200
        assert "Traceback" not in service.log.read_text("utf-8")
