import glob, json, os, time

inbox, outbox, run = (os.environ["MULTIBOT_" + name] for name in ("INBOX", "OUTBOX", "RUN_ID"))

def put(path, envelope):
    tmp = f"{outbox}/tmp/python.{os.getpid()}"
    with open(tmp, "w") as file:
        json.dump(envelope, file)
    os.rename(tmp, path)

def post(kind, name, **fields):
    id = f"{run}-{time.time_ns()}"
    put(f"{outbox}/new/{id}.ndjson", {"id": id, "kind": kind, "name": name, **fields})

post("event", "ready")
while True:
    put(os.environ["MULTIBOT_HEARTBEAT"], {"id": "beat", "kind": "heartbeat", "name": "heartbeat"})
    for path in sorted(glob.glob(f"{inbox}/new/*.ndjson")):
        mine = f"{inbox}/cur/{run},{os.path.basename(path)}"
        try:
            os.rename(path, mine)
        except FileNotFoundError:
            continue
        for command in map(json.loads, open(mine)):
            if command["name"] == "status_request":
                post("response", "status_response", correlation_id=command["id"])
            elif command["name"] == "send_message":
                post("response", "send_message", correlation_id=command["id"], payload=command["payload"])
            elif command["name"] == "shutdown":
                os.remove(mine)
                raise SystemExit(0)
        os.remove(mine)
    time.sleep(1)
