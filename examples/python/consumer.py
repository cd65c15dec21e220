"""A worker of a named consumer, at least once: the daemon keeps the position. Start as many as you like.

    python3 consumer.py [http://127.0.0.1:7077/v1/streams/bluesky [indexer]]
"""
import http.client, json, sys, time, urllib.error, urllib.request

stream = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7077/v1/streams/bluesky"
url = f"{stream}/consumers/{sys.argv[2] if len(sys.argv) > 2 else 'indexer'}"


def ask(method, url, body=None):
    request = urllib.request.Request(url, method=method, data=body and json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


made = False
while True:
    try:
        if not made:  # to make the same one again changes nothing
            ask("PUT", url, {"after": "0-0"})
            made = True
        # A batch that is not acknowledged within its lease is delivered again: take one that is longer than your work.
        batch = ask("GET", f"{url}/next?limit=100&block_ms=30000&lease_ms=5000")
        for frame in batch["frames"]:
            print(json.dumps(frame["event"]), flush=True)  # your work; do it so that twice does no harm
        if "token" in batch:
            ask("POST", f"{url}/ack", {"token": batch["token"]})
        elif batch.get("closed_at"):
            sys.exit(0)
    except (OSError, http.client.HTTPException, ValueError) as error:
        refused = isinstance(error, urllib.error.HTTPError)
        # 409: we were too slow, and the batch went out again. 410: retention was faster; somebody has to seek.
        if refused and error.code < 500 and error.code not in (409, 429):
            sys.exit(error.read().decode())
        print(f"again: {error}", file=sys.stderr)
        time.sleep(1)
