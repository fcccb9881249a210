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
from payments_bank import RunningSandbox, running_sandbox
from service_process import Service, new_key

from paydesk.payments.sandbox import SandboxOptions
from paydesk.settings import BankSettings

EXAMPLES = int(os.environ.get("PAYDESK_FUZZ_EXAMPLES", "25"))


def bank_environment(bank: RunningSandbox) -> dict[str, str]:
    """The settings by which a service reaches the sandbox bank."""
    settings: BankSettings = bank.settings()
    return {
        f"PAYDESK_BANK_{name.upper()}": getattr(value, "get_secret_value", lambda v=value: str(v))()
        for name, value in settings
        if name in settings.model_fields_set
    }


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
