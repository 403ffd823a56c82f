"""Submits a job over HTTP and fetches its document; nothing but the standard library."""
import json
import sys
import time
import urllib.request

url, key = sys.argv[1:]


def call(method, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers |= {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.headers, answer.read()


job = {"query": "Onboarding plan for warehouse staff", "formats": ["md", "pdf"], "priority": "high"}
status, headers, body = call("POST", "/v1/jobs", job, **{"Idempotency-Key": "python-1"})
assert status == 202, status
location = headers["Location"]
again, _, second = call("POST", "/v1/jobs", job, **{"Idempotency-Key": "python-1"})
assert json.loads(second)["id"] == json.loads(body)["id"], "the same key gives the same job"

deadline = time.monotonic() + 60
while (state := json.loads(call("GET", location)[2]))["state"] not in ("completed", "cancelled", "dead"):
    assert time.monotonic() < deadline, state
    time.sleep(0.1)
assert call("GET", location + "/documents/pdf")[2].startswith(b"%PDF-")
markdown = call("GET", location + "/documents/md")[2].decode()
assert markdown.startswith("# "), markdown
print(state["state"])
