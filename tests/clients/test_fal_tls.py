"""fal's Python client over https, told where the service is by its environment alone."""

import json
import subprocess
import sys
from collections.abc import Mapping

from tests.web.server import Server

SCRIPT = """
import fal_client, json

APP = "local/postcard"
ARGUMENTS = {"prompt": "a red house", "num_inference_steps": 4, "width": 64, "height": 64, "seed": 7}

*_, streamed = fal_client.stream(APP, ARGUMENTS)
queued = fal_client.subscribe(APP, ARGUMENTS)
handle = fal_client.submit(APP, ARGUMENTS)
with fal_client.realtime(APP, use_jwt=False) as connection:
    connection.send(ARGUMENTS)
    while (message := connection.recv())["step"] < 4:
        pass
print(json.dumps({
    "is_same": streamed["images"] == queued["images"] == handle.get()["images"],
    "width": message["images"][0]["width"],
    "status_url": handle.status_url,
}))
"""
TIMEOUT_SECONDS = 60


def test_all_ways_lead_to_the_same_picture(server: Server, trust: Mapping[str, str]) -> None:
    host = server.tls_url.removeprefix("https://")
    environment = {"FAL_KEY": "none", "FAL_RUN_HOST": host, "FAL_QUEUE_RUN_HOST": f"{host}/queue", **trust}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["is_same"], seen["width"]) == (True, 64)
    assert seen["status_url"].startswith(f"https://{host}/queue/local/postcard/requests/")
