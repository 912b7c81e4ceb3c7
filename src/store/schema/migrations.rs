//! Every step of the schema, as it was released.

use super::{Migration, Version};

/// Ascending; the last one is the newest schema.
pub(in crate::store) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: Version(1000),
        sql: FIRST,
    },
    Migration {
        version: Version(1001),
        sql: ALERTS,
    },
    Migration {
        version: Version(1002),
        sql: HISTORY,
    },
    Migration {
        version: Version(1003),
        sql: "ALTER TABLE alerts ADD COLUMN told_level TEXT",
    },
    Migration {
        version: Version(1004),
        sql: HOLDS,
    },
    Migration {
        version: Version(1005),
        sql: PEOPLE,
    },
    Migration {
        version: Version(1006),
        sql: "ALTER TABLE audit_log ADD COLUMN hash TEXT",
    },
];

/// Who may do what in chats. Users are what their platforms call them; a name is kept in small letters without an @.
const PEOPLE: &str = "
CREATE TABLE admin_users (
    user_id TEXT NOT NULL PRIMARY KEY,
    added_by TEXT NOT NULL,
    added_at BIGINT NOT NULL
);
CREATE TABLE command_permissions (
    command TEXT NOT NULL PRIMARY KEY,
    level TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at BIGINT NOT NULL
);
CREATE TABLE seen_users (
    user_id TEXT NOT NULL,
    bot TEXT NOT NULL,
    username TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, bot)
);
CREATE INDEX seen_users_by_name ON seen_users (username);
";

/// Bots that their platforms have refused.
const HOLDS: &str = "
CREATE TABLE holds (
    bot TEXT NOT NULL PRIMARY KEY,
    class TEXT NOT NULL,
    evidence TEXT NOT NULL,
    held_at BIGINT NOT NULL
);
";

const ALERTS: &str = "
CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    rule TEXT NOT NULL,
    bot TEXT,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    raised_at BIGINT NOT NULL,
    recovered_at BIGINT,
    reminded_at BIGINT,
    told TEXT NOT NULL,
    acked_at BIGINT,
    acked_by TEXT
);
CREATE INDEX alerts_by_time ON alerts (raised_at);
CREATE TABLE alert_silences (
    id INTEGER PRIMARY KEY,
    bot TEXT,
    rule TEXT,
    until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    reason TEXT
);
";

const FIRST: &str = "
CREATE TABLE bot_configs (
    id TEXT NOT NULL PRIMARY KEY,
    bot_index BIGINT NOT NULL UNIQUE,
    platform TEXT,
    settings TEXT NOT NULL,
    wanted TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE credentials (
    bot TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    digest TEXT UNIQUE,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (bot, name)
);
CREATE TABLE process_events (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    bot TEXT NOT NULL,
    run_id TEXT,
    name TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX process_events_by_bot ON process_events (bot, id);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    bot TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX audit_log_by_bot ON audit_log (bot, id);
CREATE TABLE blocklist (
    bot TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    blocked_at BIGINT NOT NULL,
    until BIGINT,
    failures BIGINT NOT NULL,
    PRIMARY KEY (bot, target)
);
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
";

/// Rows of one time lie together: they are written, summed up and dropped by time. Figures are whole numbers, as
/// those take one to four bytes. `process_health` is what a dashboard asks for: every pass of the last hour, and
/// before that a row a minute for a day. Its times are text in UTC as SQLite's own date functions write it, so
/// that they compare with `datetime('now', '-1 hour')`. The states are those of `metrics::STATES`.
const HISTORY: &str = "
CREATE TABLE process_metrics (
    resolution BIGINT NOT NULL,
    at BIGINT NOT NULL,
    bot TEXT NOT NULL,
    status BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    wanted BIGINT NOT NULL,
    up BIGINT NOT NULL,
    measured BIGINT NOT NULL,
    memory_bytes BIGINT,
    memory_max BIGINT,
    cpu_permille BIGINT,
    cpu_permille_max BIGINT,
    uptime_s BIGINT,
    connections BIGINT,
    open_files BIGINT,
    threads BIGINT,
    processes BIGINT,
    queue BIGINT,
    messages_in BIGINT NOT NULL,
    messages_done BIGINT NOT NULL,
    messages_out BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    restarts BIGINT NOT NULL,
    done_p50_ms BIGINT,
    done_p95_ms BIGINT,
    PRIMARY KEY (resolution, at, bot)
) WITHOUT ROWID;
CREATE VIEW process_health AS
SELECT bot AS process_name,
    CASE status
        WHEN 0 THEN 'adopting' WHEN 1 THEN 'stopped' WHEN 2 THEN 'starting' WHEN 3 THEN 'running'
        WHEN 4 THEN 'unhealthy' WHEN 5 THEN 'stopping' WHEN 6 THEN 'backoff' WHEN 7 THEN 'failed'
        WHEN 8 THEN 'held' END AS status,
    ROUND(memory_bytes / 1048576.0, 1) AS memory_usage_mb,
    uptime_s AS uptime_seconds,
    connections AS active_connections,
    strftime('%Y-%m-%d %H:%M:%S', at / 1000, 'unixepoch') AS timestamp
FROM process_metrics
WHERE resolution = 0 AND at >= (SELECT MAX(at) FROM process_metrics WHERE resolution = 0) - 3600000
UNION ALL
SELECT bot,
    CASE status
        WHEN 0 THEN 'adopting' WHEN 1 THEN 'stopped' WHEN 2 THEN 'starting' WHEN 3 THEN 'running'
        WHEN 4 THEN 'unhealthy' WHEN 5 THEN 'stopping' WHEN 6 THEN 'backoff' WHEN 7 THEN 'failed'
        WHEN 8 THEN 'held' END,
    ROUND(memory_bytes / 1048576.0, 1),
    uptime_s,
    connections,
    strftime('%Y-%m-%d %H:%M:%S', at / 1000, 'unixepoch')
FROM process_metrics
WHERE resolution = 60
    AND at >= (SELECT MAX(at) FROM process_metrics WHERE resolution = 0) - 86400000
    AND at < (SELECT MAX(at) FROM process_metrics WHERE resolution = 0) - 3600000;
";
