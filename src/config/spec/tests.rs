//! What is written reaches its field, and what makes no sense together is told.

use super::*;
use crate::model::blocking::BlockingPolicy;
use crate::model::bot::{ReadyPolicy, ReadyWhen, RestartPolicy, RestartWhen, StopPolicy};
use crate::model::chat::{Action, ChatPolicy};
use crate::model::credential::Refresh;
use crate::model::credential::login::LoginPolicy;
use crate::model::judging::{JudgingPolicy, Mode};
use crate::model::kernel::{GroupWhen, KernelPolicy};
use crate::model::queue::{Durability, QueuePolicy};
use crate::model::telegram::TelegramPolicy;
use crate::model::usage::{HALTED_MAX, Limit, LimitAction, Limits, Warn};

fn spec(layers: &[&str]) -> Result<BotSpec, String> {
    let layers: Vec<Settings> = layers.iter().map(|text| Settings::from_json(text).unwrap()).collect();
    let layers: Vec<&Settings> = layers.iter().collect();
    bot_spec(&"shop".parse().unwrap(), &layers).map_err(|faults| faults.to_string())
}

fn limit(max: Option<f64>, seconds: u64, action: LimitAction) -> Limit {
    Limit {
        max,
        warn: Warn::Share(0.8),
        lasting: Duration::from_secs(seconds),
        action,
    }
}

#[test]
fn nothing_written_is_the_built_in_loopback_bot() {
    let seconds = Duration::from_secs;
    let expected = BotSpec {
        id: "shop".parse().unwrap(),
        platform: Platform::Loopback,
        command: Vec::new(),
        cwd: None,
        env: BTreeMap::new(),
        env_file: None,
        env_inherit: Vec::new(),
        token_env: Vec::new(),
        credentials_env: BTreeMap::new(),
        credentials_refresh: Refresh::Restart,
        login: LoginPolicy {
            exec: Vec::new(),
            timeout: seconds(300),
        },
        enabled: true,
        restart: RestartPolicy {
            when: RestartWhen::Always,
            delay: seconds(1),
            factor: 2.0,
            max_delay: seconds(60),
            max_restarts: 5,
            window: seconds(600),
            reset_after: seconds(60),
            retry_failed: Some(seconds(600)),
        },
        stop: StopPolicy {
            signal: 15,
            grace: seconds(10),
        },
        ready: ReadyPolicy {
            when: ReadyWhen::Signal,
            timeout: seconds(30),
            min_uptime: seconds(1),
        },
        heartbeat_timeout: seconds(60),
        kernel: KernelPolicy::default(),
        limits: Limits {
            memory: limit(None, 10, LimitAction::Restart),
            cpu: limit(None, 60, LimitAction::Alert),
            open_files: limit(None, 30, LimitAction::Alert),
            threads: limit(None, 30, LimitAction::Alert),
            processes: limit(None, 30, LimitAction::Alert),
            connections: limit(None, 30, LimitAction::Alert),
            output: limit(Some(5.0 * 1024.0 * 1024.0), 30, LimitAction::Alert),
            halted: Limit {
                warn: Warn::At(HALTED_MAX),
                ..limit(Some(HALTED_MAX), 30, LimitAction::Restart)
            },
        },
        probes: Vec::new(),
        errors_pattern: None,
        log: LogPolicy {
            max_size: 10 * 1024 * 1024,
            keep: 5,
        },
        queue: QueuePolicy::default(),
        accept_from: Vec::new(),
        blocking: BlockingPolicy {
            max_failures: 3,
            duration: Duration::from_secs(3600),
            kicked: None,
        },
        judging: JudgingPolicy::default(),
        telegram: TelegramPolicy::default(),
        whatsapp: crate::model::whatsapp::WhatsappPolicy::default(),
        chat: ChatPolicy::default(),
        media: MediaPolicy::default(),
    };
    assert_eq!(spec(&["{}"]), Ok(expected.clone()));
    assert_eq!(spec(&[]), Ok(expected));
}

#[test]
fn every_key_reaches_its_field() {
    let own = r#"{"platform":"telegram","command":["a","b"],"cwd":"/c","env":{"A":"1"},"env_file":"/e",
        "env_inherit":["B"],"token_env":["C"],"credentials.env":{"D":"api_key"},"credentials.refresh":"command","login.exec":["/l","m"],"login.timeout":"29s","blocklist.max_failures":4,"blocklist.duration":"27s","blocklist.kicked":"28s","enabled":false,"restart.policy":"on-failure","restart.delay":"2s",
        "restart.factor":1.5,"restart.max_delay":"3s","restart.max_restarts":7,"restart.window":"4s",
        "restart.reset_after":"5s","restart.retry_failed":"never","stop.signal":"INT","stop.grace":"6s",
        "ready.when":"signal","ready.timeout":"7s","ready.min_uptime":"8s","heartbeat_timeout":"9s",
        "kernel.group":"always","kernel.memory_max":"3MiB","kernel.memory_high":"2MiB",
        "kernel.cpu_max":70,"kernel.pids_max":17,"kernel.open_files":18,"nice":-5,"weight":19,
        "limits.memory.max":"2MiB","limits.memory.warn":"1500000","limits.memory.for":"11s","limits.memory.action":"stop",
        "limits.cpu.max":80,"limits.cpu.warn":"50%","limits.cpu.for":"12s","limits.cpu.action":"restart",
        "limits.open_files.max":101,"limits.open_files.warn":"51%","limits.open_files.for":"21s","limits.open_files.action":"restart",
        "limits.threads.max":102,"limits.threads.warn":"52%","limits.threads.for":"22s","limits.threads.action":"restart",
        "limits.processes.max":103,"limits.processes.warn":"53%","limits.processes.for":"23s","limits.processes.action":"stop",
        "limits.connections.max":104,"limits.connections.warn":54,"limits.connections.for":"24s","limits.connections.action":"stop",
        "limits.output.max":"2KiB","limits.output.warn":"55%","limits.output.for":"25s","limits.output.action":"restart",
        "limits.halted.for":"26s","limits.halted.action":"stop","log.max_size":"4KiB","log.keep":2,
        "queue.max_messages":5,"queue.max_bytes":"8KiB","queue.max_message":"1KiB","queue.retry_delay":"13s",
        "queue.max_retry_delay":"14s","queue.max_crashes":4,"queue.dedup_window":"15s","queue.durability":"each",
        "judge":"off","errors.classes":[{"exit":9,"class":"banned"}],"telegram.api_root":"http://127.0.0.1:8081",
        "whatsapp.api_root":"http://127.0.0.1:8082","whatsapp.version":"v1.0","whatsapp.listen":"127.0.0.1:8090",
        "telegram.parse_mode":"HTML","telegram.poll_timeout":"29s","prefixes":["!"],"allowed_users":["7","@ann"],"strangers":"no",
        "commands":{"hours":{"reply":"10 to 18"}},"media.max_file":"3MiB","media.quota":"5GiB",
        "probes":{"api":{"tcp":"8080","period":"9s"}},"errors.pattern":"E[0-9]",
        "accept_from":["desk","*"],"media.dir":"/m","media.clean_on_start":true}"#;
    let written = Settings::from_json(own).unwrap();
    for key in KEYS {
        assert!(written.get(key.name).is_some(), "{} is not part of this test", key.name);
    }
    let spec = spec(&[own]).unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(spec.platform, Platform::Telegram);
    assert_eq!((spec.command.join(" "), spec.cwd), ("a b".into(), Some("/c".into())));
    assert_eq!((spec.env["A"].as_str(), spec.env_file), ("1", Some("/e".into())));
    assert_eq!(
        (spec.env_inherit.concat(), spec.token_env.concat()),
        ("B".into(), "C".into())
    );
    assert_eq!(spec.credentials_env["D"].as_str(), "api_key");
    assert_eq!(spec.credentials_refresh, Refresh::Command);
    assert_eq!(
        spec.login,
        LoginPolicy {
            exec: vec!["/l".to_owned(), "m".to_owned()],
            timeout: Duration::from_secs(29)
        }
    );
    let blocking = spec.blocking;
    assert_eq!(
        (blocking.max_failures, blocking.duration, blocking.kicked),
        (4, seconds(27), Some(seconds(28)))
    );
    assert_eq!((spec.judging.mode, spec.judging.own.len()), (Mode::Off, 1));
    assert_eq!(spec.telegram.api_root, "http://127.0.0.1:8081");
    assert_eq!(
        (spec.telegram.parse_mode.as_deref(), spec.telegram.poll_timeout),
        (Some("HTML"), seconds(29))
    );
    assert_eq!(
        (spec.chat.prefixes.concat(), spec.chat.allowed_users.concat()),
        ("!".into(), "7@ann".into())
    );
    let whatsapp = spec.whatsapp;
    assert_eq!(
        (whatsapp.api_root.as_str(), whatsapp.version.as_str()),
        ("http://127.0.0.1:8082", "v1.0")
    );
    assert_eq!(whatsapp.listen.as_deref(), Some("127.0.0.1:8090"));
    assert_eq!(spec.chat.others.as_deref(), Some("no"));
    assert_eq!(spec.chat.commands["hours"].action, Action::Reply("10 to 18".into()));
    assert_eq!((spec.media.max_file, spec.media.quota), (3 << 20, Some(5 << 30)));
    assert!(!spec.enabled);
    let restart = RestartPolicy {
        when: RestartWhen::OnFailure,
        delay: seconds(2),
        factor: 1.5,
        max_delay: seconds(3),
        max_restarts: 7,
        window: seconds(4),
        reset_after: seconds(5),
        retry_failed: None,
    };
    assert_eq!(spec.restart, restart);
    assert_eq!((spec.stop.signal, spec.stop.grace), (2, seconds(6)));
    assert_eq!(spec.ready.when, ReadyWhen::Signal);
    assert_eq!((spec.ready.timeout, spec.ready.min_uptime), (seconds(7), seconds(8)));
    assert_eq!(spec.heartbeat_timeout, seconds(9));
    assert_eq!(
        (spec.probes[0].name.as_str(), spec.probes[0].period),
        ("api", seconds(9))
    );
    assert_eq!(spec.errors_pattern.as_deref(), Some("E[0-9]"));
    let with = |max, warn, lasting, action| Limit {
        warn,
        ..limit(Some(max), lasting, action)
    };
    let kernel = KernelPolicy {
        group: GroupWhen::Always,
        memory_max: MemoryMax::Bytes(3 << 20),
        memory_high: Some(2 << 20),
        cpu_max: Some(70.0),
        pids_max: Some(17),
        open_files: Some(18),
        nice: Some(-5),
        weight: Some(19),
    };
    assert_eq!(spec.kernel, kernel);
    let expected = Limits {
        memory: with(2_097_152.0, Warn::At(1_500_000.0), 11, LimitAction::Stop),
        cpu: with(80.0, Warn::Share(0.5), 12, LimitAction::Restart),
        open_files: with(101.0, Warn::Share(0.51), 21, LimitAction::Restart),
        threads: with(102.0, Warn::Share(0.52), 22, LimitAction::Restart),
        processes: with(103.0, Warn::Share(0.53), 23, LimitAction::Stop),
        connections: with(104.0, Warn::At(54.0), 24, LimitAction::Stop),
        output: with(2048.0, Warn::Share(0.55), 25, LimitAction::Restart),
        halted: with(HALTED_MAX, Warn::At(HALTED_MAX), 26, LimitAction::Stop),
    };
    assert_eq!(spec.limits, expected);
    assert_eq!((spec.log.max_size, spec.log.keep), (4096, 2));
    let queue = QueuePolicy {
        max_messages: 5,
        max_bytes: 8192,
        max_message: 1024,
        retry_delay: seconds(13),
        max_retry_delay: seconds(14),
        max_crashes: 4,
        dedup_window: seconds(15),
        durability: Durability::Each,
    };
    assert_eq!((spec.queue, spec.accept_from.concat()), (queue, "desk*".to_owned()));
    assert_eq!((spec.media.dir, spec.media.clean_on_start), (Some("/m".into()), true));
}

#[test]
fn the_first_layer_wins_and_a_command_changes_what_is_usual() {
    let spec = spec(&[
        r#"{"command":["x"],"env":{"A":"1"},"limits.memory.max":"1MiB","from.newer":[1]}"#,
        r#"{"stop.grace":"3s","env":{"A":"0","B":"2"},"limits.memory.action":"stop","limits.cpu.for":"5s"}"#,
        r#"{"stop.grace":"4s","log.keep":9}"#,
    ])
    .unwrap();
    assert_eq!((spec.platform, spec.ready.when), (Platform::None, ReadyWhen::Alive));
    assert_eq!((spec.stop.grace.as_secs(), spec.log.keep), (3, 9));
    assert_eq!(
        spec.env,
        BTreeMap::from([("A".into(), "1".into()), ("B".into(), "2".into())])
    );
    let memory = &spec.limits.memory;
    assert_eq!((memory.action, memory.max), (LimitAction::Stop, Some(1_048_576.0)));
    assert_eq!(spec.limits.cpu.max, None);
}

#[test]
fn what_keys_mean_together_is_checked() {
    for (own, said) in [
        (
            r#"{"restart.delay":"2m"}"#,
            "restart.max_delay: 1m is shorter than restart.delay, 2m",
        ),
        (
            r#"{"platform":"none"}"#,
            "platform: none runs nothing by itself; write a command, or another platform",
        ),
        (
            r#"{"limits.memory.for":"5s","limits.cpu.action":"stop"}"#,
            "limits.memory.for: there is no limit; write limits.memory.max too\n\
             limits.cpu.action: there is no limit; write limits.cpu.max too",
        ),
        (
            r#"{"limits.output.warn":"6MiB","limits.threads.warn":"50%","limits.processes.warn":7,"limits.processes.for":"1s"}"#,
            "limits.threads.warn: there is no limit; write limits.threads.max too\n\
             limits.output.warn: 6.0 MiB/s is more than limits.output.max, 5.0 MiB/s",
        ),
        (
            r#"{"kernel.memory_max":"100MiB","limits.memory.max":"200MiB"}"#,
            "kernel.memory_max: 100.0 MiB is less than limits.memory.max, 200.0 MiB: the kernel would kill the bot \
             before that limit is reached",
        ),
        (
            r#"{"limits.memory.max":"200"}"#,
            "limits.memory.max: \"200\" is a number of bytes, less than 1.0 MiB: write a unit, such as 200MiB",
        ),
        (
            r#"{"queue.max_message":"1MiB"}"#,
            "queue.max_message: 1.0 MiB is more than an envelope may have: 256KiB at most; \
             put large content into the media folder",
        ),
        (
            r#"{"accept_from":["Desk"]}"#,
            "accept_from: entry 1 is not the id of a bot, nor \"*\"",
        ),
        (r#"{"cwd":"work"}"#, "cwd: \"work\" is relative: write the full path"),
        (
            r#"{"restart.delay":"soon","log.keep":0,"env":{"BOT_ID":"s3cret"}}"#,
            "env: BOT_ID is set by multibot itself; choose another name\n\
             restart.delay: \"soon\" is not a duration: write 500ms, 5s, 10m, 2h or 7d\n\
             log.keep: \"0\" is not a whole number from 1 to 1000",
        ),
    ] {
        assert_eq!(spec(&[own]), Err(said.to_owned()), "{own}");
    }
}
