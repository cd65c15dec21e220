"""Follows a stream into a SQLite file, exactly once: events and position are stored in one transaction.

    python3 tail.py [http://127.0.0.1:7077/v1/streams/bluesky [events.db]]
"""
import http.client, json, sqlite3, sys, time, urllib.error, urllib.request

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7077/v1/streams/bluesky"
db = sqlite3.connect(sys.argv[2] if len(sys.argv) > 2 else "events.db")
db.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, event TEXT NOT NULL)")
db.execute("CREATE TABLE IF NOT EXISTS position (only INTEGER PRIMARY KEY CHECK (only = 1), after TEXT NOT NULL)")
db.execute("INSERT OR IGNORE INTO position VALUES (1, '0-0')")  # from the beginning
db.commit()
(after,) = db.execute("SELECT after FROM position").fetchone()

while True:
    try:
        with urllib.request.urlopen(f"{url}/tail?after={after}&block_ms=30000&limit=1000", timeout=60) as response:
            page = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code < 500 and error.code != 429:  # 410: retention was faster than we were
            sys.exit(error.read().decode())
        time.sleep(1)
        continue
    except (OSError, http.client.HTTPException, ValueError) as error:  # the daemon is away, or went in the middle
        print(f"going on after {after}: {error}", file=sys.stderr)
        time.sleep(1)
        continue
    with db:  # one transaction: a crash leaves both, or neither
        db.executemany("INSERT INTO events VALUES (?, ?)", [(f["id"], json.dumps(f["event"])) for f in page["frames"]])
        db.execute("UPDATE position SET after = ?", (page["cursor"],))
    after = page["cursor"]
    print(after, page["count"], flush=True)
    if page.get("closed_at") and page["up_to_date"]:
        sys.exit(0)
