"""Follows a stream as server-sent events, at least once: the position is saved after an event was handled.

    python3 sse.py [http://127.0.0.1:7077/v1/streams/bluesky [position]]
"""
import http.client, os, sys, time, urllib.error, urllib.request

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7077/v1/streams/bluesky"
file = sys.argv[2] if len(sys.argv) > 2 else "position"
after = open(file).read() if os.path.exists(file) else "0-0"  # from the beginning

while True:
    try:
        with urllib.request.urlopen(f"{url}/tail?live=sse&after={after}", timeout=30) as response:  # something comes every 10 s
            event = {"event": "", "data": []}
            for line in response:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "data":
                    event["data"].append(value)
                elif name:
                    event[name] = value
                elif event["event"]:  # closed, or expired: retention was faster than we were
                    sys.exit(event["event"] + ": " + "".join(event["data"]))
                else:  # an empty line ends an event; one that the connection cut in two has none, and comes again
                    if event["data"]:
                        print("\n".join(event["data"]), flush=True)
                    if "id" in event:  # without data too: past what a filter left out
                        after = event["id"]
                        with open(file + ".new", "w") as f:
                            f.write(after)
                        os.replace(file + ".new", file)  # all of it or nothing, whenever we are killed
                    event = {"event": "", "data": []}
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429:
            sys.exit(error.read().decode())
        print(f"going on after {after}: {error}", file=sys.stderr)
    time.sleep(1)
