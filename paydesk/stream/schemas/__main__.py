"""Writes the published schemas anew: python -m paydesk.stream.schemas"""

import json
from pathlib import Path

from paydesk.stream.messages import MESSAGES, VERSION, schema

for name in MESSAGES:
    path = Path(__file__).with_name(f"{name}.v{VERSION}.json")
    path.write_text(json.dumps(schema(name), indent=2) + "\n", "utf-8")
