"""Thousands of requests made of the server's OpenAPI document: `make test-bulk`; with -s their counts are printed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from holisafe.serve import Limits, Settings
from serve.site import engine_site


@pytest.mark.bulk
def test_no_request_of_the_document_breaks_the_server() -> None:
    pytest.importorskip("schemathesis", reason="needs pip install schemathesis")
    limits = Limits(new_tokens=4, default_new_tokens=1)
    with engine_site(Settings(limits=limits)) as site:
        words = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{site.url}/openapi.json",
            "-c",
            "not_a_server_error",
        ]
        more = ["--max-examples", "200", "--phases", "fuzzing,coverage", "--request-timeout", "60"]
        told = subprocess.run([*words, *more], capture_output=True, text=True, check=False)
        print(told.stdout[-1500:])
        assert told.returncode == 0, told.stdout[-3000:]
        made = re.search(r"(\d+) generated", told.stdout)
        assert made and int(made[1]) >= 2000
        assert site.chat().status_code == 200
