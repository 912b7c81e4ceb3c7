//! Probes as operators write them, and what they get wrong.

use serde_json::json;

use super::*;
use crate::config::Settings;
use proptest::prelude::*;

fn read(text: &str) -> Result<Value, String> {
    let tree = crate::config::yaml::parse(text).unwrap();
    let mut faults = Vec::new();
    let value = read_probes("probes", &tree, &mut faults);
    let told: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}:{}: {}", fault.line, fault.column, fault.message))
        .collect();
    if told.is_empty() {
        Ok(value.unwrap_or(Value::Null))
    } else {
        assert_eq!(value, None, "{told:?}");
        Err(told.join("\n"))
    }
}

fn probe(text: &str) -> Probe {
    let value = read(&format!("it: {text}")).unwrap();
    probes_of(Some(value)).remove(0)
}

#[test]
fn every_check_is_read_with_the_defaults_of_the_field() {
    let plain = probe("{tcp: 8080}");
    assert_eq!(
        (plain.role, plain.initial_delay, plain.period, plain.timeout),
        (
            Role::Liveness,
            Duration::ZERO,
            Duration::from_secs(10),
            Duration::from_secs(1)
        )
    );
    assert_eq!((plain.failure_threshold, plain.success_threshold), (3, 1));
    assert!(matches!(plain.check, Check::Tcp(TcpCheck { ref host, port: 8080 }) if host == "127.0.0.1"));
    let full = probe(
        "{role: readiness, exec: [a, b], initial_delay: 5s, period: 2s, timeout: 3s, failure_threshold: 4, \
         success_threshold: 5}",
    );
    assert_eq!((full.role, full.initial_delay.as_secs()), (Role::Readiness, 5));
    assert_eq!((full.period.as_secs(), full.timeout.as_secs()), (2, 3));
    assert_eq!((full.failure_threshold, full.success_threshold), (4, 5));
    assert!(matches!(full.check, Check::Exec(ref argv) if argv.join(" ") == "a b"));
    let Check::Http(http) =
        probe("{http: {url: 'http://h/x', method: HEAD, headers: {X-A: b}, status: 200-204, body: ok}}").check
    else {
        panic!("http")
    };
    assert_eq!((http.url.as_str(), http.method.as_str()), ("http://h/x", "HEAD"));
    assert_eq!((http.status, http.body.as_deref()), ((200, 204), Some("ok")));
    assert_eq!(http.headers, [("X-A".to_owned(), "b".to_owned())]);
    assert!(matches!(probe("{http: 'http://h:1/'}").check, Check::Http(http) if http.status == (200, 399)));
    assert!(matches!(probe("{tcp: '[::1]:80'}").check, Check::Tcp(TcpCheck { ref host, port: 80 }) if host == "::1"));
    let beat = probe("{heartbeat: 30s}");
    assert!(matches!(beat.check, Check::Heartbeat { max_age: Some(age) } if age.as_secs() == 30));
    assert_eq!(beat.failure_threshold, 1, "its own time says how long");
    assert!(matches!(
        probe("{heartbeat: true}").check,
        Check::Heartbeat { max_age: None }
    ));
    assert!(matches!(probe("{status_request: true}").check, Check::StatusRequest));
    let within = Duration::from_secs(60);
    assert!(
        probe("{log: {must_appear: tick, within: 1m}}").check
            == Check::Log(LogCheck::MustAppear {
                pattern: "tick".into(),
                within
            })
    );
    assert!(probe("{log: {must_not_appear: x}}").check == Check::Log(LogCheck::MustNotAppear { pattern: "x".into() }));
    assert!(
        probe("{backlog: {mailbox: inbox, max: 10, growing_for: 1m}}").check
            == Check::Backlog(BacklogCheck {
                max: Some(10),
                growing_for: within
            })
    );
    assert!(matches!(probe("{backlog: {}}").check, Check::Backlog(it) if it.max.is_none()));
}

#[test]
fn every_fault_names_its_place_and_a_way_out() {
    let checks = "exec, http, tcp, heartbeat, status_request, log, backlog";
    for (text, said) in [
        ("x", "1:1: probes: write a mapping: {api: {http: URL}}".to_owned()),
        (
            "A b: {tcp: 1}",
            "1:1: probes: \"A b\" is not a name of a probe: write at most 32 of a-z 0-9 _ -".to_owned(),
        ),
        (
            "a: 5",
            format!("1:4: probes.a: write a mapping with one of {checks}, such as {{tcp: 8080}}"),
        ),
        (
            "a: {period: 5s}",
            format!("1:4: probes.a: nothing says how to ask: write one of {checks}"),
        ),
        (
            "a:\n  tcp: 80\n  exec: [x]",
            "3:3: probes.a: tcp and exec stand beside each other: one probe asks one way, write a second probe"
                .to_owned(),
        ),
        (
            "a: {tpc: 80, tcp: 80}",
            "1:5: unknown key \"probes.a.tpc\", nearest is \"probes.a.tcp\"".to_owned(),
        ),
        (
            "a: {tcp: 80, failure_treshold: 2}",
            "1:14: unknown key \"probes.a.failure_treshold\", nearest is \"probes.a.failure_threshold\"".to_owned(),
        ),
        (
            "a: {tcp: shop, period: 1ms}",
            "1:10: probes.a.tcp: \"shop\" is no address: write 8080, 127.0.0.1:8080, localhost:8080 or [::1]:8080\n\
             1:24: probes.a.period: \"1ms\" is too short: write at least 100ms"
                .to_owned(),
        ),
        (
            "a: {http: 'ftp://me:s3cret@h'}",
            "1:11: probes.a.http: it is no address to ask: write http:// or https:// and a host, such as \
             http://127.0.0.1:8080/health"
                .to_owned(),
        ),
        (
            "a: {http: {method: get, headers: {A: [s3cret]}, status: 99}}",
            "1:20: probes.a.http.method: \"get\" is none of GET, HEAD, POST, PUT, OPTIONS\n\
             1:35: probes.a.http.headers: \"A\" is not a header with one line of ASCII\n\
             1:57: probes.a.http.status: \"99\" is no status: write 200, or 200-399"
                .to_owned(),
        ),
        (
            "a: {http: {method: GET}}",
            "1:11: probes.a.http: url is missing".to_owned(),
        ),
        (
            "a: {heartbeat: often}",
            "1:16: probes.a.heartbeat: \"often\" is not a duration: write 500ms, 5s, 10m, 2h or 7d, or true for \
             heartbeat_timeout"
                .to_owned(),
        ),
        (
            "a: {status_request: false}",
            "1:21: probes.a.status_request: \"false\": write true, or remove the probe".to_owned(),
        ),
        (
            "a: {log: {within: 5m}}",
            "1:10: probes.a.log: write either must_appear or must_not_appear".to_owned(),
        ),
        (
            "a: {log: {must_not_appear: x, within: 5m}}",
            "1:10: probes.a.log: within belongs to must_appear".to_owned(),
        ),
        (
            "a: {backlog: {mailbox: outbox}}",
            "1:24: probes.a.backlog.mailbox: \"outbox\" is none of inbox".to_owned(),
        ),
        (
            "a: {backlog: 5}",
            "1:14: probes.a.backlog: write a mapping with mailbox, max, growing_for".to_owned(),
        ),
        (
            "a: {exec: x}",
            "1:11: probes.a.exec: write a list: [\"python3\", \"shop.py\"]".to_owned(),
        ),
    ] {
        assert_eq!(read(text), Err(said), "{text}");
    }
    let said = read("a: {log: {must_appear: '('}}").unwrap_err();
    assert!(
        said.starts_with("1:24: probes.a.log.must_appear: \"(\" is not a regular expression: "),
        "{said}"
    );
}

#[test]
fn probes_are_set_one_by_one_and_merge_by_name() {
    let mut settings = Settings::new();
    settings
        .set("probes", r#"{"api":{"tcp":80},"beat":{"heartbeat":"60s"}}"#)
        .unwrap();
    settings
        .set("probes.log", r#"{"log":{"must_not_appear":"x"}}"#)
        .unwrap();
    assert_eq!(settings.get("probes.beat"), Some(&json!({"heartbeat": "1m"})));
    assert_eq!(settings.unset("probes.beat"), Ok(true));
    let said = settings.set("probes.api", "80").unwrap_err().to_string();
    assert!(said.starts_with("probes.api: write a mapping with one of"), "{said}");
    let mut below = Settings::new();
    below.set("probes", r#"{"api":{"tcp":81},"web":{"tcp":82}}"#).unwrap();
    let merged = settings.over(&below);
    assert_eq!(merged.get("probes.api"), Some(&json!({"tcp": "80"})));
    let names: Vec<String> = probes_of(merged.get("probes").cloned())
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["api", "log", "web"]);
    settings.set("probes.run", r#"{"exec":["./check.sh"]}"#).unwrap();
    settings.resolve_paths(std::path::Path::new("/base")).unwrap();
    assert_eq!(settings.get("probes.run"), Some(&json!({"exec": ["/base/check.sh"]})));
}

proptest! {
    #[test]
    fn what_is_canonical_reads_as_itself(
        period in 100u64..100_000, failures in 1u32..1000, port in 1u16.., age in 1u64..86_400,
        word in "[a-z]{1,8}", which in 0usize..4,
    ) {
        let check = [
            json!({"tcp": port}),
            json!({"heartbeat": format!("{age}ms")}),
            json!({"log": {"must_appear": word, "within": format!("{age}s")}}),
            json!({"http": {"url": format!("http://127.0.0.1:{port}/{word}"), "status": "200-299"}}),
        ][which].clone();
        let mut probe = check;
        probe["period"] = json!(format!("{period}ms"));
        probe["failure_threshold"] = json!(failures);
        let mut faults = Vec::new();
        let once = read_probes("probes", &Node::from_json(&json!({"it": probe})), &mut faults);
        let twice = once.as_ref().and_then(|value| read_probes("probes", &Node::from_json(value), &mut faults));
        prop_assert_eq!(&faults, &Vec::new());
        prop_assert_eq!(once.clone(), twice);
        let typed = probes_of(once).remove(0);
        prop_assert_eq!((typed.period.as_millis() as u64, typed.failure_threshold), (period, failures));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = (tcp_of(&text), statuses(&text), url(&text));
    }
}
