"""A bot's side of multibot: one file without dependencies, for Python 3.8 and later. Copy it beside your bot.

    import multibot

    bot = multibot.Client()
    bot.ready()
    bot.run({"send_message": lambda message: "you said: " + message.payload["text"]})

`Client` blocks, `AsyncClient` is the same for asyncio; there each method is awaited. Who this bot is and where its
mailboxes are stands in the environment that multibot starts it with. The files are described in ipc/README.md.

One message is in hand at a time: `receive` gives the same one again until it was acknowledged (`ack`, `reply`) or
refused (`fail`). Whatever a run had in hand when it died comes back with a higher `attempt`, so a message may be
handled twice; its `id` tells. Only one client of a run may receive.
"""

import asyncio
import collections
import ctypes
import datetime
import errno
import hashlib
import inspect
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback

__all__ = ["AsyncClient", "Client", "Error", "Message", "NotPosted"]

ENVELOPE_BYTES_MAX = 256 * 1024
FILE_BYTES_MAX = 16 * 1024 * 1024
FILE_ENVELOPES_MAX = 512
MAILBOX_FILES_MAX = 100_000
# What is accepted must still be handled and answered.
DISK_FREE_BYTES_MIN = 1024 * 1024
# So that nothing starves, each sixteenth claim takes from the least urgent end.
FAIR_EVERY = 16
# A watch is a hint that may be lost: this long after the last look, look again.
RESCAN_S = 30.0
POLL_S = 1.0
HEARTBEAT_S = 10.0
CREDENTIALS_S = 30.0

_VARIABLES = ("BOT_ID", "MULTIBOT_RUN_ID", "MULTIBOT_INBOX", "MULTIBOT_OUTBOX", "MULTIBOT_HEARTBEAT")
_ADMIN_COMMANDS = ("admin", "refresh", "setperm", "removeperm", "listperms", "relogin")
_CONTROL = (
    "shutdown", "status_request", "refresh_admins", "refresh_permissions", "refresh_blocklist", "refresh_credentials",
)
_KINDS = ("command", "response", "event", "heartbeat", "error")
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_OWN_NAME = re.compile(r"([0-9])-([0-9]{17})-([0-7][0-9A-HJKMNP-TV-Z]{25})\.([1-9][0-9]*)\.ndjson")
_LATER_NAME = re.compile(r"[0-9]{17}-([0-9a-f]{16})-(.*)")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%@-]{0,191}|[*]")
_KEY = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_FIELDS = {
    "v": lambda it: _whole(it) and it == 1, "id": _ID, "kind": lambda it: it in _KINDS, "name": _NAME, "from": _ADDRESS,
    "to": _ADDRESS, "correlation_id": _ID, "dedup_key": _KEY, "order_key": _KEY,
    "priority": lambda it: _whole(it) and 0 <= it <= 9, "attempt": lambda it: _whole(it) and 1 <= it < 2**32,
    "max_attempts": lambda it: _whole(it) and 1 <= it < 2**32, "created_at": lambda it: _seconds(it) is not None,
    "expires_at": lambda it: _seconds(it) is not None, "payload": lambda it: isinstance(it, dict),
}


class Error(Exception):
    """What could not be done, in one line."""


class NotPosted(Error):
    """The outbox takes nothing now: it is full, or the disk is. Nothing was changed; try again later."""


def _whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(text):
    """The seconds since 1970 of a time in RFC 3339; None for anything else."""
    parts = _TIME.fullmatch(text) if isinstance(text, str) else None
    if parts is None:
        return None
    zone = parts[8]
    offset = 0 if zone in "Zz" else int(zone[0] + "1") * (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60)
    try:
        # A leap second counts as the one before it.
        moment = datetime.datetime(*(int(parts[n]) for n in range(1, 6)), min(int(parts[6]), 59))
    except ValueError:
        return None
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp() - offset + float("0." + (parts[7] or "0"))


def _rfc3339(seconds):
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ulid():
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_BASE32[number >> shift & 31] for shift in range(125, -5, -5))


def _delivery_key(dir, name, prefix=""):
    """What files sort by. A foreign name counts as priority 5 and queues when it arrived; None when it is gone."""
    own = _OWN_NAME.fullmatch(name)
    if own:
        return (int(own[1]), int(own[2]), name)
    try:
        return (5, os.lstat(os.path.join(dir, prefix + name)).st_ctime_ns // 1000, name)
    except FileNotFoundError:
        return None


def _place(name, arrived):
    """Where a file stands among others; of its envelopes, each counts on by one in the last part."""
    own = _OWN_NAME.fullmatch(name)
    if own:
        return (int(own[1]), int(own[2]), _number(own[3]))
    digest = hashlib.sha256(arrived.to_bytes(8, "big") + os.fsencode(name)).digest()
    return (5, arrived, int.from_bytes(digest[:16], "big"))


def _number(base32):
    number = 0
    for letter in base32:
        number = number << 5 | _BASE32.index(letter)
    return number


def _names(dir):
    try:
        return [name for name in os.listdir(dir) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _unlink(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _fitted(prefix, name, number):
    """Both within what a file name may have, `.acked` included; the ending stays, for it is the format."""
    stem, ending = os.path.splitext(name)
    ending = ending[:16]
    mark = "~%d" % number if number else ""
    room = 255 - len(".acked") - len(os.fsencode(prefix + mark + ending))
    return prefix + os.fsdecode(os.fsencode(stem)[:room]) + mark + ending


def _move(source, dir, prefix, name):
    """Renames a file into `dir` under a name that is free; returns it, None when somebody else was faster."""
    number = 0
    while True:
        target = os.path.join(dir, _fitted(prefix, name, number))
        if not os.path.lexists(target):
            try:
                os.rename(source, target)
                return target
            except FileNotFoundError:
                if os.path.isdir(dir):
                    return None
                raise Error("no mailbox at %s" % os.path.dirname(dir)) from None
        number += 1


def _write(path, data, sync):
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


class _Unreadable(Exception):
    """Why a file is no message."""


def _read(path, name, owner):
    """The text of a claimed file, which is opened without following a link or waiting for a writer."""
    if not name.endswith((".ndjson", ".json")):
        raise _Unreadable("its name ends in neither .ndjson nor .json")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        # Only what is wrong with the file is a reason to set it aside, not what is wrong with the host.
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM):
            raise
        raise _Unreadable("it cannot be opened: %s" % error.strerror) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _Unreadable("it is not a regular file")
        if found.st_nlink != 1:
            raise _Unreadable("it has %d hard links, not one" % found.st_nlink)
        if found.st_uid not in (0, owner):
            raise _Unreadable("it belongs to uid %d" % found.st_uid)
        data = b""
        while len(data) <= FILE_BYTES_MAX:
            more = os.read(fd, FILE_BYTES_MAX + 1 - len(data))
            if not more:
                break
            data += more
    finally:
        os.close(fd)
    if len(data) > FILE_BYTES_MAX:
        raise _Unreadable("it is longer than %d bytes" % FILE_BYTES_MAX)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Unreadable("it is not UTF-8 from byte %d" % error.start) from None


def _parse(name, text):
    """The envelopes of a file, as they lie there; one faulty envelope makes the whole file unreadable."""
    lines = [text] if name.endswith(".json") else text.split("\n")
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise _Unreadable("it is empty")
    if len(lines) > FILE_ENVELOPES_MAX:
        raise _Unreadable("it holds more than %d envelopes" % FILE_ENVELOPES_MAX)
    envelopes = []
    for number, line in enumerate(lines, 1):
        try:
            envelopes.append(_envelope(line))
        except (ValueError, RecursionError) as error:
            raise _Unreadable("envelope %d: %s" % (number, error)) from None
    return envelopes


def _envelope(line):
    if len(line.encode()) > ENVELOPE_BYTES_MAX:
        raise ValueError("longer than %d bytes" % ENVELOPE_BYTES_MAX)
    try:
        fields = json.loads(line, parse_constant=_no_constant)
    except ValueError:
        raise ValueError("not valid JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    fields = {name: value for name, value in fields.items() if value is not None}
    for name in ("id", "kind", "name"):
        if name not in fields:
            raise ValueError("%s is missing" % name)
    for name, rule in _FIELDS.items():
        if name in fields and not _holds(rule, fields[name]):
            raise ValueError("%s is not what it must be" % name)
    return fields


def _no_constant(word):
    raise ValueError(word)


def _holds(rule, value):
    if isinstance(rule, re.Pattern):
        return isinstance(value, str) and rule.fullmatch(value) is not None
    return rule(value)


class _Watch:
    """Tells that files came into a folder: inotify, and where the kernel gives none, a look now and then."""

    # Moved in, or written and closed; and that the folder itself went.
    _MASK = 0x00000080 | 0x00000008 | 0x00000400 | 0x00000800
    _GONE = 0x00000400 | 0x00000800 | 0x00008000

    def __init__(self, dir):
        self._dir = dir
        self._is_armed = False
        self.fd = -1
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, AttributeError):
            pass
        self.arm()

    def arm(self):
        if self.fd >= 0 and not self._is_armed:
            self._is_armed = self._libc.inotify_add_watch(self.fd, os.fsencode(self._dir), self._MASK) >= 0

    def patience(self, idle):
        """How long a wait may last that began `idle` seconds ago."""
        return RESCAN_S if self._is_armed else min(POLL_S, max(0.05, idle / 2))

    def drain(self):
        while self.fd >= 0:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                if int.from_bytes(data[at + 4:at + 8], sys.byteorder) & self._GONE:
                    self._is_armed = False
                at += 16 + int.from_bytes(data[at + 12:at + 16], sys.byteorder)


class _File:
    """A claimed file: its envelopes, and what became of each. The truth about that is `.acked` beside it."""

    def __init__(self, path, name, envelopes):
        own = _OWN_NAME.fullmatch(name)
        self.path = path
        self.envelopes = envelopes
        self.attempt = int(own[4]) if own else 1
        self.acked = set()
        self.refused = set()
        self._place = _place(name, os.lstat(path).st_ctime_ns // 1000)
        self.load()

    def place(self, envelope):
        priority, micros, number = self._place
        return (priority, micros, number + self.envelopes.index(envelope))

    def given_back(self):
        """The order keys of what was refused, each with the place of its message. Settled or not: it may be on its
        way back, past what else stands in this file."""
        refused = [it for it in self.envelopes if it["id"] in self.refused and "order_key" in it]
        return [(_order_key(it), self.place(it)) for it in refused]

    @property
    def progress(self):
        return self.path + ".acked"

    def load(self):
        """Reads the progress; a last line that a power cut has torn does not count."""
        try:
            with open(self.progress, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return b""
        for line in data.split(b"\n")[:-1]:
            line = line.decode("utf-8", "replace")
            (self.refused if line.startswith("-") else self.acked).add(line.lstrip("-"))
        return data

    def unsettled(self):
        return (it for it in self.envelopes if it["id"] not in self.acked and it["id"] not in self.refused)

    def ack(self, id):
        self.acked.add(id)
        if len(self.envelopes) == 1:
            _unlink(self.path)
        else:
            self._append(id)
            self.finish()

    def refuse(self, id):
        self.refused.add(id)
        self._append("-" + id)
        if not os.path.exists(self.path):
            # The supervisor was faster and has moved it: nobody needs what stands beside it.
            _unlink(self.progress)

    def finish(self):
        """Unlinks what is done. The supervisor acknowledges here too, so the file has the last word."""
        if next(self.unsettled(), None) is None:
            self.load()
            if all(it["id"] in self.acked for it in self.envelopes):
                _unlink(self.path)
                _unlink(self.progress)

    def _append(self, line):
        data = b""
        if os.path.exists(self.progress):
            with open(self.progress, "rb") as file:
                data = file.read()
        # No id has a slash: a torn line stays one that means nothing.
        line = ("/\n" if data and not data.endswith(b"\n") else "") + line + "\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.progress, flags, 0o600)
        try:
            if os.write(fd, line.encode()) < len(line):
                raise Error("%s: only a part was written" % self.progress)
        finally:
            os.close(fd)


class Message:
    """One message that was received. Settle it once: `ack`, `reply` or `fail`."""

    def __init__(self, client, file, envelope):
        self._client = client
        self._file = file
        self.is_settled = False
        self.envelope = envelope
        self.id = envelope["id"]
        self.kind = envelope["kind"]
        self.name = envelope["name"]
        self.payload = envelope.get("payload", {})
        self.sender = envelope.get("from", "supervisor")
        self.correlation_id = envelope.get("correlation_id")
        self.order_key = envelope.get("order_key")
        self.priority = envelope.get("priority", 5)
        self.attempt = max(envelope.get("attempt", 1), file.attempt)
        self.max_attempts = envelope.get("max_attempts", 5)
        self.created_at = envelope.get("created_at")
        self.expires_at = envelope.get("expires_at")
        self.history = envelope.get("history", [])

    def __repr__(self):
        return "<multibot.Message %s %s attempt %d>" % (self.id, self.name, self.attempt)

    def ack(self):
        """It is handled: it will not come again."""
        self._client._settle(self, None)

    def reply(self, payload=None):
        """Answers whoever sent it, then acknowledges it. A text becomes {"text": TEXT}."""
        self._client._settle(self, {"kind": "response", "payload": _payload(payload)})

    def fail(self, reason, retry_after=None, permanent=False):
        """It could not be handled. It comes again after a growing delay, until its attempts are spent; after
        `retry_after` seconds without that counting as an attempt; or never, if `permanent`."""
        payload = {"message": str(reason)}
        if retry_after is not None:
            payload["retry_after"] = retry_after
        if permanent:
            payload["permanent"] = True
        self._client._settle(self, {"kind": "error", "payload": payload})


def _payload(payload):
    if isinstance(payload, str):
        return {"text": payload}
    if payload is None:
        return {}
    if not isinstance(payload, dict):
        raise TypeError("a payload is a dict, a text or None, not a %s" % type(payload).__name__)
    return payload


class _Core:
    """All that is done with files. Never waits for a message; safe to use from several threads."""

    def __init__(self, environ=None):
        environ = os.environ if environ is None else environ
        missing = [name for name in _VARIABLES if not environ.get(name)]
        if missing:
            raise Error("not inside a bot: %s not set; multibot sets them when it starts one" % ", ".join(missing))
        self.bot, self.run_id, inbox, outbox, self._heartbeat = (environ[name] for name in _VARIABLES)
        self._new, self._cur, self._later = (os.path.join(inbox, name) for name in ("new", "cur", "later"))
        self._inbox, self._outbox = inbox, outbox
        self._dead = os.path.join(os.path.dirname(inbox), "dead")
        self._born = time.time()
        if re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", self.run_id):
            self._born = _number(self.run_id[:10]) / 1000
        self._environ = environ
        self._lock = threading.RLock()
        self._message = None
        self._admins = frozenset()
        self._permissions = {}
        self._files = None
        # Files of which something waits for the supervisor, and what may not be overtaken.
        self._waiting = []
        self._given_back = []
        self._entries = collections.deque()
        self._was_delayed = False
        self._taken = 0
        self._claims = 0
        self._last_micros = 0
        self._room = 0
        self._watch = _Watch(self._new)

    # Sending.

    def _new_envelope(self, kind, name, payload=None, to="supervisor", **fields):
        expires_in = fields.pop("expires_in", None)
        now = time.time()
        envelope = {"v": 1, "id": _ulid(), "kind": kind, "name": name, "from": self.bot, "to": to}
        envelope.update((name, value) for name, value in fields.items() if value is not None)
        envelope.setdefault("priority", 5)
        envelope["created_at"] = _rfc3339(now)
        if expires_in is not None:
            envelope["expires_at"] = _rfc3339(now + expires_in)
        envelope["payload"] = _payload(payload)
        for field, rule in _FIELDS.items():
            if field in envelope and not _holds(rule, envelope[field]):
                raise Error("%s: %s is not what it must be" % (name, field))
        return envelope

    def _post(self, envelopes, sync=True):
        """Posts envelopes in order; returns their ids. With `sync` they survive a power cut once this returns."""
        lines = []
        for envelope in envelopes:
            line = json.dumps(envelope, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            # Half a character, which a str may hold, is replaced: no reader would take it.
            line = line.encode("utf-8", "replace") + b"\n"
            if len(line) > ENVELOPE_BYTES_MAX:
                known = (envelope["name"], len(line), ENVELOPE_BYTES_MAX)
                raise Error("%s is %d bytes long, at most %d can be sent" % known)
            lines.append(line)
        with self._lock:
            start = 0
            while start < len(lines):
                end, size = start, 0
                for line in lines[start:start + FILE_ENVELOPES_MAX]:
                    size += len(line)
                    if size > FILE_BYTES_MAX:
                        break
                    end += 1
                self._post_file(envelopes[start:end], b"".join(lines[start:end]), sync)
                start = end
        return [envelope["id"] for envelope in envelopes]

    def _post_file(self, envelopes, data, sync):
        new = os.path.join(self._outbox, "new")
        if self._room <= 0:
            free = MAILBOX_FILES_MAX - len(_names(new))
            if free <= 0:
                raise NotPosted("queue full: %s" % self._outbox)
            # Counting costs as much as the mailbox is long, so it is done rarely.
            self._room = 1 + free // 16
        self._room -= 1
        self._last_micros = max(self._last_micros + 1, time.time_ns() // 1000)
        urgent = min(envelope["priority"] for envelope in envelopes)
        name = "%d-%017d-%s.1.ndjson" % (urgent, self._last_micros, envelopes[0]["id"])
        tmp = os.path.join(self._outbox, "tmp", name)
        try:
            disk = os.statvfs(self._outbox)
            if sync and disk.f_bavail * disk.f_frsize < len(data) + DISK_FREE_BYTES_MIN:
                raise NotPosted("disk full: %s" % self._outbox)
            _write(tmp, data, sync)
            os.rename(tmp, os.path.join(new, name))
        except OSError as error:
            _unlink(tmp)
            raise NotPosted("cannot post to %s: %s" % (self._outbox, error.strerror)) from error
        if sync:
            fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def ready(self, detail=None):
        """Says that the bot works."""
        self._post([self._new_envelope("event", "ready", {"detail": detail} if detail else {})], sync=False)

    def heartbeat(self):
        """One heartbeat. Whoever has beaten once must go on: a bot that falls silent is restarted."""
        beat = self._new_envelope("heartbeat", "heartbeat")
        tmp = os.path.join(self._outbox, "tmp", beat["id"] + ".heartbeat")
        try:
            _write(tmp, json.dumps(beat).encode() + b"\n", False)
            os.rename(tmp, self._heartbeat)
        except OSError as error:
            _unlink(tmp)
            raise NotPosted("no heartbeat: %s" % error) from error

    def _beat(self):
        try:
            self.heartbeat()
        except NotPosted as error:
            _tell(str(error))

    def event(self, name, payload=None):
        """Tells something for the bot's history: `connected`, `disconnected`, or a name of your own."""
        return self._post([self._new_envelope("event", name, payload)])[0]

    def error(self, message, **payload):
        """Tells that something went wrong and the bot goes on."""
        return self.event("error", dict(payload, message=str(message)))

    def send(self, to, name, payload=None, *, kind="command", **fields):
        """Sends a message to another bot, or with to="*" to all that accept it; returns its id. Its answer is
        received like any message, with that id as `correlation_id`. Fields: priority (0 to 9), order_key,
        dedup_key, expires_in (seconds), max_attempts."""
        return self._post([self._new_envelope(kind, name, payload, to, **fields)])[0]

    def post_many(self, messages):
        """Posts many in one go, and durably with one wait for the disk: dicts with the arguments of `send`, or
        without `to` those of `event`. Returns their ids."""
        kinds = ("command" if "to" in message else "event" for message in messages)
        return self._post([self._new_envelope(**dict({"kind": kind}, **it)) for kind, it in zip(kinds, messages)])

    # Receiving.

    def _take(self):
        """The message in hand, or the next one; None when none waits."""
        with self._lock:
            if self._files is None:
                self._resume()
            while self._message is None:
                if not self._files and not self._claim():
                    return None
                file = self._files[0]
                envelope = self._next(file)
                if envelope is None:
                    file.finish()
                    self._files.popleft()
                    if file.refused:
                        self._waiting.append(file)
                else:
                    self._message = Message(self, file, envelope)
            return self._message

    def _next(self, file):
        """The first envelope that may be handed out. What may not is answered on the way."""
        now = time.time()
        for envelope in list(file.unsettled()):
            expires_at = envelope.get("expires_at")
            is_expired = expires_at is not None and _seconds(expires_at) < now
            is_control = _is_for_one_run(envelope)
            # The signal may end a run before it reads the message that came with it.
            if is_control and (_seconds(envelope.get("created_at")) or now) < self._born:
                file.ack(envelope["id"])
            elif is_control and envelope["name"] == "shutdown":
                # However late: a bot that must end has to know.
                return envelope
            elif is_control and (is_expired or self._learn(envelope)):
                file.ack(envelope["id"])
            elif is_expired:
                self._refuse(file, envelope, {"message": "expired at " + expires_at, "permanent": True})
            elif self._must_wait(file, envelope):
                self._refuse(file, envelope, {"message": "an earlier message of its order_key waits", "behind": True})
            else:
                return envelope
        return None

    def _learn(self, envelope):
        """Takes over a list of the supervisor's; whether this was one."""
        payload = envelope.get("payload", {})
        if envelope["name"] == "refresh_admins":
            self._admins = frozenset(str(user) for user in payload.get("admins", ()))
        elif envelope["name"] == "refresh_permissions":
            self._permissions = dict(payload.get("permissions", {}))
        else:
            return envelope["name"] == "refresh_blocklist"
        return True

    def is_admin(self, user):
        """Whether this user, by the id that the platform gives, is an admin of all bots of this home."""
        return str(user) in self._admins

    def allowed(self, command, user, default="user"):
        """Whether this user may use this chat command; `default` ("user" or "admin") is whose it is where nobody has
        said otherwise."""
        command = _command(command)
        level = "admin" if command in _ADMIN_COMMANDS else self._permissions.get(command, default)
        return level == "user" or self.is_admin(user)

    def credentials(self):
        """The bot's secret fields as they are now, as a dict; its token is `token`. Asks multibot."""
        program = self._environ.get("MULTIBOT_PROGRAM") or "multibot"
        try:
            asked = subprocess.run(
                [program, "ipc", "credentials", "--json"], env=dict(self._environ), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=CREDENTIALS_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Error("no credentials: cannot run %s: %s" % (program, error)) from None
        if asked.returncode:
            raise Error("no credentials: %s" % asked.stderr.decode("utf-8", "replace").strip())
        return json.loads(asked.stdout)

    def _must_wait(self, file, envelope):
        """Whether an earlier message of its order key was given back. A later one is none of its business: two
        that wait for each other would wait for ever."""
        key = _order_key(envelope)
        return key is not None and any(key == other and at < file.place(envelope) for other, at in self._given_back)

    def _answer(self, envelope, kind, payload):
        name = "status_response" if envelope["name"] == "status_request" and kind == "response" else envelope["name"]
        answer = self._new_envelope(
            kind, name, payload, envelope.get("from", "supervisor"),
            correlation_id=envelope["id"], priority=envelope.get("priority", 5),
        )
        self._post([answer], sync=name != "status_response")

    def _refuse(self, file, envelope, payload):
        self._answer(envelope, "error", payload)
        self._entries.clear()
        file.refuse(envelope["id"])
        if "order_key" in envelope:
            self._given_back.append((_order_key(envelope), file.place(envelope)))

    def _settle(self, message, answer):
        with self._lock:
            if message.is_settled:
                raise Error("%r is settled already" % message)
            # The answer first: whoever dies in between answers twice rather than never.
            if answer is not None and answer["kind"] == "error":
                self._refuse(message._file, message.envelope, answer["payload"])
            else:
                if answer is not None:
                    self._answer(message.envelope, "response", answer["payload"])
                message._file.ack(message.id)
            message.is_settled = True
            if self._message is message:
                self._message = None

    def _resume(self):
        """Takes up what this run has claimed before: a client of the same run may have been here."""
        mine = self.run_id + ","
        names = [name[len(mine):] for name in _names(self._cur) if name.startswith(mine)]
        names = [name for name in names if not name.endswith(".acked")]
        found = [key for key in (_delivery_key(self._cur, name, mine) for name in names) if key]
        self._files = collections.deque()
        self._given_back = _given_back_in(_names(self._later))
        for _, _, name in sorted(found):
            file = self._open(os.path.join(self._cur, mine + name), name)
            if file is None:
                continue
            self._given_back += file.given_back()
            if next(file.unsettled(), None) is not None:
                self._files.append(file)
            else:
                file.finish()
                self._waiting.append(file)

    def _claim(self):
        """Claims the next file that can be read; False when none waits."""
        while True:
            self._waiting = [file for file in self._waiting if os.path.exists(file.path)]
            # In this order: what moves from later/ to new/ in between is then seen in new/.
            later = _names(self._later)
            is_delayed = bool(later or self._waiting)
            # What was listed while something waited may hold what must still wait for it.
            if is_delayed or self._was_delayed or not self._entries or self._taken > max(16, len(self._entries) // 16):
                self._scan()
            self._was_delayed = is_delayed
            if not self._entries:
                return False
            self._claims += 1
            entry = self._entries[0]
            if self._claims % FAIR_EVERY == 0:
                lowest = self._entries[-1][0]
                entry = next(it for it in self._entries if it[0] == lowest)
            self._entries.remove(entry)
            self._taken += 1
            name = entry[2]
            # An orphan of an earlier claim of the same name must not speak for this one.
            _unlink(os.path.join(self._cur, _fitted(self.run_id + ",", name, 0) + ".acked"))
            # What only looks like somebody's progress gets another name.
            claimed = name + "_" if name.endswith(".acked") else name
            path = _move(os.path.join(self._new, name), self._cur, self.run_id + ",", claimed)
            if path is None:
                continue
            self._given_back = _given_back_in(later)
            for file in self._waiting:
                self._given_back += file.given_back()
            file = self._open(path, name)
            if file is not None:
                self._files.append(file)
                return True

    def _scan(self):
        self._watch.arm()
        keys = (_delivery_key(self._new, name) for name in _names(self._new))
        self._entries = collections.deque(sorted(key for key in keys if key))
        self._taken = 0

    def _open(self, path, name):
        try:
            return _File(path, name, _parse(name, _read(path, name, os.stat(self._inbox).st_uid)))
        except FileNotFoundError:
            return None
        except _Unreadable as why:
            self._bury(path, name, str(why))
            return None

    def _bury(self, path, name, reason):
        """Sets a file aside that is no message, with its reason beside it. Nothing is ever deleted."""
        os.makedirs(self._dead, 0o700, exist_ok=True)
        target = _move(path, self._dead, "", name + "_" if name.endswith(".reason") else name)
        if target is None:
            return
        tmp = os.path.join(self._dead, ".%s.reason" % _ulid())
        told = {"v": 1, "reason": reason, "at": _rfc3339(time.time()), "from_box": "inbox"}
        _write(tmp, json.dumps(told).encode() + b"\n", False)
        os.rename(tmp, target + ".reason")
        _tell("set aside %s: %s" % (name, reason))

    @property
    def _uptime(self):
        return max(0, int(time.time() - self._born))


def _order_key(envelope):
    """What later/ names are marked with; None for an envelope that keeps no order."""
    if "order_key" not in envelope:
        return None
    text = "%s\0%d\0%s" % (envelope.get("from", "supervisor"), envelope.get("priority", 5), envelope["order_key"])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _given_back_in(names):
    """What waits in later/: order keys, each with the place of its message."""
    found = []
    for parts in filter(None, map(_LATER_NAME.fullmatch, names)):
        if parts[1] != "0" * 16 and _OWN_NAME.fullmatch(parts[2]):
            found.append((parts[1], _place(parts[2], 0)))
    return found


def _is_for_one_run(envelope):
    """The supervisor's word to one run: the next one has no use for it."""
    is_control = envelope["name"] in _CONTROL and envelope["kind"] == "command"
    return is_control and envelope.get("from", "supervisor") == "supervisor"


def _command(text):
    """The name of a chat command as multibot keeps it, with or without its prefix."""
    return text if text == "*" else text.lstrip("!\"#$%&'()*+,./:;<=>?@[\\]^`{|}~").lower()


def _tell(text):
    print("multibot: " + text, file=sys.stderr, flush=True)


async def _given(value):
    return await value if inspect.isawaitable(value) else value


async def _handle(client, message, handlers, hooks):
    """Handles one message for both clients: only the asynchronous one ever waits in here."""
    is_command = message.kind == "command"
    if is_command and message.name == "status_request":
        await _run(client, message, lambda _: _status(client, hooks))
    elif is_command and message.name == "shutdown":
        # The supervisor sees the end itself; anybody else waits for a word.
        await _settled(client, message.ack if message.sender == "supervisor" else message.reply)
        client.stop()
        await _farewell(hooks, message.payload.get("mode", "graceful"), message.payload.get("deadline"))
    elif is_command and message.name == "restart_connection" and hooks["restart_connection"]:
        await _run(client, message, lambda _: _reconnect(client, hooks["restart_connection"]))
    elif is_command and message.name == "refresh_credentials" and hooks["refresh_credentials"]:
        await _run(client, message, lambda message: _refresh(client, message, hooks["refresh_credentials"]))
    elif message.name in handlers:
        await _run(client, message, handlers[message.name])
    elif not is_command and message.correlation_id and hooks["response"]:
        await _run(client, message, hooks["response"])
    elif not is_command:
        await _settled(client, message.ack)
    elif "*" in handlers:
        await _run(client, message, handlers["*"])
    else:
        await _settled(client, lambda: message.fail('unknown command "%s"' % message.name, permanent=True))


async def _run(client, message, handler):
    try:
        outcome = await _given(handler(message))
    except NotPosted:
        raise
    except Exception as error:
        traceback.print_exc()
        why = "%s: %s" % (type(error).__name__, error)
        if not message.is_settled:
            await _settled(client, lambda: message.fail(why))
        return
    if message.is_settled:
        return
    try:
        # Nobody waits for the answer to an answer or an event.
        await _settled(client, (lambda: message.reply(outcome)) if message.kind == "command" else message.ack)
    except (Error, TypeError, ValueError) as error:
        # An answer that no envelope holds; a repetition would not make it fit.
        why = "no answer: %s" % error
        await _settled(client, lambda: message.fail(why, permanent=True))


async def _settled(client, settle):
    """Answers. While the outbox takes nothing, no new message is begun: this one would be handled twice."""
    while True:
        try:
            return await _given(settle())
        except NotPosted as error:
            _tell(str(error))
            await _given(client._pause(POLL_S))


async def _status(client, hooks):
    payload = {"uptime_s": client._uptime}
    if hooks["status"]:
        payload.update(await _given(hooks["status"]()) or {})
    return payload


async def _reconnect(client, restart):
    await _given(client.event("disconnected"))
    try:
        said = await _given(restart())
    except Exception as error:
        await _given(client.event("connection_failed", {"message": str(error)}))
        raise
    await _given(client.event("connected"))
    return {"connected": True} if said is None else said


async def _refresh(client, message, take):
    return await _given(take(await _given(client.credentials()), message.payload.get("fields", [])))


async def _farewell(hooks, mode, deadline):
    if hooks["shutdown"]:
        await _given(hooks["shutdown"](mode, deadline))


def _finish_at_once(coroutine):
    """Runs what never waits to its end."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise TypeError("a handler that must be awaited needs multibot.AsyncClient")


class Client(_Core):
    """The blocking client. `receive` belongs to one thread, everything else to any."""

    def __init__(self, environ=None):
        super().__init__(environ)
        self._is_stopped = False
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)

    def receive(self, timeout=None):
        """The next message, or the one in hand again; None after `timeout` seconds, and when `stop` was called."""
        begun = time.monotonic()
        while True:
            message = self._take()
            if message is not None:
                return message
            idle = time.monotonic() - begun
            patience = self._watch.patience(idle)
            if timeout is not None:
                patience = min(patience, timeout - idle)
            if self._is_stopped or patience <= 0:
                return None
            fds = [self._wake_read] + ([self._watch.fd] if self._watch.fd >= 0 else [])
            poll = select.poll()
            for fd in fds:
                poll.register(fd, select.POLLIN)
            woken = [fd for fd, _ in poll.poll(patience * 1000)]
            self._watch.drain()
            if self._wake_read in woken:
                os.read(self._wake_read, 64)

    def stop(self):
        """Makes `run` and a `receive` that waits return. Safe in a signal handler and from any thread."""
        self._is_stopped = True
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            pass

    def _pause(self, seconds):
        time.sleep(seconds)

    def beat_every(self, seconds=HEARTBEAT_S):
        """Beats from a thread of its own until the process ends. That says that the process lives, not that its
        main loop turns: `run(heartbeat=...)` says that."""
        def beat():
            while True:
                self._beat()
                time.sleep(seconds)
        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        return thread

    def run(self, handlers=None, *, on_shutdown=None, on_restart_connection=None, on_refresh_credentials=None,
            on_response=None, status=None, heartbeat=HEARTBEAT_S, sigterm=False):
        """Handles messages until the bot is told to end, one after another.

        `handlers` has a function for each name, and "*" for all others. What it returns is the reply: a dict, a text,
        or None; what it raises makes the message fail and come again. Unknown commands are refused. Answered by
        itself: status_request, with what `status()` returns, and shutdown, with `on_shutdown(mode, deadline)`. With
        credentials.refresh=command, `on_refresh_credentials(credentials, fields)` is given them all as a dict, and the
        names of those that have changed.
        `heartbeat`: seconds between two beats of this loop, None for none; a handler that takes longer than the bot's
        heartbeat_timeout counts as hung. `sigterm`: True makes the stop signal end the loop after the message in
        hand, instead of killing the process where it stands."""
        hooks = dict(
            shutdown=on_shutdown, restart_connection=on_restart_connection, refresh_credentials=on_refresh_credentials,
            response=on_response, status=status,
        )
        if sigterm:
            signal.signal(signal.SIGTERM, lambda *_: self.stop())
        next_beat = time.monotonic()
        is_told = False
        while not self._is_stopped:
            wait = None
            if heartbeat is not None:
                if time.monotonic() >= next_beat:
                    self._beat()
                    next_beat = time.monotonic() + heartbeat
                wait = max(0.0, next_beat - time.monotonic())
            message = self.receive(wait)
            if message is not None:
                is_told = is_told or message.name == "shutdown"
                _finish_at_once(_handle(self, message, handlers or {}, hooks))
        if sigterm:
            # Message and signal come together, and the later one must not kill.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if not is_told:
                _finish_at_once(_farewell(hooks, "graceful", None))


class AsyncMessage:
    """A `Message` whose `ack`, `reply` and `fail` are awaited."""

    def __init__(self, client, message):
        self._client = client
        self._message = message

    def __getattr__(self, name):
        return getattr(self._message, name)

    def __repr__(self):
        return repr(self._message)

    async def ack(self):
        await self._client._do(self._message.ack)

    async def reply(self, payload=None):
        await self._client._do(self._message.reply, payload)

    async def fail(self, reason, retry_after=None, permanent=False):
        await self._client._do(lambda: self._message.fail(reason, retry_after, permanent))


class AsyncClient:
    """The client for asyncio: the same methods, awaited. Files are read and written in the loop's threads."""

    def __init__(self, environ=None):
        self._core = _Core(environ)
        self._is_stopped = False
        self._news = None
        self._message = None

    @property
    def bot(self):
        return self._core.bot

    @property
    def run_id(self):
        return self._core.run_id

    def is_admin(self, user):
        return self._core.is_admin(user)

    def allowed(self, command, user, default="user"):
        return self._core.allowed(command, user, default)

    async def _do(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)

    async def credentials(self):
        return await self._do(self._core.credentials)

    async def ready(self, detail=None):
        await self._do(self._core.ready, detail)

    async def heartbeat(self):
        await self._do(self._core.heartbeat)

    async def event(self, name, payload=None):
        return await self._do(self._core.event, name, payload)

    async def error(self, message, **payload):
        return await self._do(lambda: self._core.error(message, **payload))

    async def send(self, to, name, payload=None, **fields):
        return await self._do(lambda: self._core.send(to, name, payload, **fields))

    async def post_many(self, messages):
        return await self._do(self._core.post_many, messages)

    def _listen(self):
        if self._news is None:
            self._news = asyncio.Event()
            if self._core._watch.fd >= 0:
                def hear():
                    self._core._watch.drain()
                    self._news.set()
                asyncio.get_running_loop().add_reader(self._core._watch.fd, hear)

    async def receive(self, timeout=None):
        """The next message, or the one in hand again; None after `timeout` seconds, and when `stop` was called."""
        self._listen()
        begun = time.monotonic()
        while True:
            self._news.clear()
            message = await self._do(self._core._take)
            if message is not None:
                if self._message is None or self._message._message is not message:
                    self._message = AsyncMessage(self, message)
                return self._message
            idle = time.monotonic() - begun
            patience = self._core._watch.patience(idle)
            if timeout is not None:
                patience = min(patience, timeout - idle)
            if self._is_stopped or patience <= 0:
                return None
            try:
                await asyncio.wait_for(self._news.wait(), patience)
            except asyncio.TimeoutError:
                pass

    def stop(self):
        """Makes `run` and a `receive` that waits return. To be called in the event loop."""
        self._is_stopped = True
        if self._news is not None:
            self._news.set()

    async def _pause(self, seconds):
        await asyncio.sleep(seconds)

    def beat_every(self, seconds=HEARTBEAT_S):
        """A task that beats as long as the event loop turns."""
        async def beat():
            while True:
                await self._do(self._core._beat)
                await asyncio.sleep(seconds)
        return asyncio.get_running_loop().create_task(beat())

    @property
    def _uptime(self):
        return self._core._uptime

    async def run(self, handlers=None, *, on_shutdown=None, on_restart_connection=None, on_refresh_credentials=None,
                  on_response=None, status=None, heartbeat=HEARTBEAT_S, sigterm=False):
        """As `Client.run`; handlers and callbacks may be coroutines. The heartbeat is a task beside them."""
        hooks = dict(
            shutdown=on_shutdown, restart_connection=on_restart_connection, refresh_credentials=on_refresh_credentials,
            response=on_response, status=status,
        )
        if sigterm:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        beats = self.beat_every(heartbeat) if heartbeat is not None else None
        is_told = False
        try:
            while not self._is_stopped:
                message = await self.receive()
                if message is not None:
                    is_told = is_told or message.name == "shutdown"
                    await _handle(self, message, handlers or {}, hooks)
            if sigterm:
                # Message and signal come together, and the later one must not kill.
                asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                if not is_told:
                    await _farewell(hooks, "graceful", None)
        finally:
            if beats is not None:
                beats.cancel()
