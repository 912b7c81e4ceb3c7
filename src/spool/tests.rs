//! The mailbox from post to finish or grave, on real folders.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode};

use super::envelope::tests::{DEFAULTS, NOW};
use super::*;
use crate::model::limits::{
    DISK_FREE_BYTES_MIN, ENVELOPE_BYTES_MAX, ENVELOPES_PER_FILE_MAX, MAILBOX_FILE_BYTES_MAX, MAILBOX_FILES_MAX,
    TMP_AGE_MAX,
};
use crate::model::message::{Envelope, Kind};

const CLAIMANT: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn mailbox(dir: &Path) -> Mailbox {
    let mailbox = Mailbox::new(dir.join("inbox"));
    mailbox.create().unwrap();
    mailbox
}

fn envelope(name: &str, priority: u8) -> Envelope {
    let mut envelope = Envelope::new(new_id(NOW), Kind::Command, name, "cli", "shop", NOW);
    envelope.priority = priority;
    envelope
}

fn post(mailbox: &Mailbox, poster: &mut Poster, envelopes: &[Envelope]) -> Result<Posted> {
    mailbox.post(poster, envelopes, Durability::Batch, NOW)
}

/// Claims the only file and reads it.
fn read_one(mailbox: &Mailbox) -> (Claimed, std::result::Result<Vec<Envelope>, ReadError>) {
    assert_eq!(mailbox.counts().unwrap().new, 1);
    read_first(mailbox)
}

fn read_first(mailbox: &Mailbox) -> (Claimed, std::result::Result<Vec<Envelope>, ReadError>) {
    let entries = mailbox.scan().unwrap();
    let claimed = mailbox.claim(&entries[0], CLAIMANT).unwrap().unwrap();
    let read = claimed.read(&DEFAULTS);
    (claimed, read)
}

fn reason(read: std::result::Result<Vec<Envelope>, ReadError>) -> String {
    match read {
        Err(ReadError::Unreadable(reason)) => reason.to_string(),
        other => panic!("{other:?} is not unreadable"),
    }
}

#[test]
fn posted_claimed_read_and_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let sent = [envelope("one", 5), envelope("two", 3)];
    let posted = post(&mailbox, &mut Poster::new(), &sent).unwrap();
    let name = FileName::parse(posted.path().file_name().unwrap().to_str().unwrap()).unwrap();
    assert_eq!((name.priority, &name.id, name.attempt), (3, &sent[0].id, 1));
    assert_eq!(fs::metadata(posted.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(mailbox.counts().unwrap(), Counts { new: 1, cur: 0 });

    let (claimed, read) = read_one(&mailbox);
    assert_eq!(read.unwrap(), sent);
    assert_eq!(claimed.path(), mailbox.dir().join(format!("cur/{CLAIMANT},{name}")));
    assert_eq!(mailbox.counts().unwrap(), Counts { new: 0, cur: 1 });
    claimed.finish().unwrap();
    assert_eq!(mailbox.counts().unwrap(), Counts::default());
    assert_eq!(fs::read_dir(mailbox.dir().join("tmp")).unwrap().count(), 0);
}

#[test]
fn delivery_is_by_priority_then_in_the_order_of_posting_even_when_the_clock_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let mut poster = Poster::new();
    for (name, priority, time) in [("a", 5, 9), ("b", 5, 9), ("c", 0, 3), ("d", 5, 1), ("e", 9, 0)] {
        let sent = [envelope(name, priority)];
        mailbox.post(&mut poster, &sent, Durability::None, Stamp(time)).unwrap();
    }
    let mut order = String::new();
    for entry in mailbox.scan().unwrap() {
        let claimed = mailbox.claim(&entry, CLAIMANT).unwrap().unwrap();
        order.push_str(&claimed.read(&DEFAULTS).unwrap()[0].name);
    }
    assert_eq!(order, "cabde");
}

#[test]
fn of_two_claimants_one_gets_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    post(&mailbox, &mut Poster::new(), &[envelope("x", 5)]).unwrap();
    let entry = mailbox.scan().unwrap().remove(0);
    assert!(mailbox.claim(&entry, "first").unwrap().is_some());
    assert!(mailbox.claim(&entry, "second").unwrap().is_none());
    for bad in ["", "../x", "a,b", ".x", &"a".repeat(65)] {
        assert!(
            matches!(mailbox.claim(&entry, bad), Err(Error::Claimant { .. })),
            "{bad}"
        );
    }
}

#[test]
fn what_nobody_claimed_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let mut poster = Poster::new();
    let first = post(&mailbox, &mut poster, &[envelope("x", 5)]).unwrap();
    assert!(mailbox.retract(&first).unwrap());
    let second = post(&mailbox, &mut poster, &[envelope("x", 5)]).unwrap();
    let (claimed, _) = read_one(&mailbox);
    assert!(!mailbox.retract(&second).unwrap());
    assert!(claimed.path().exists());
}

#[test]
fn a_post_that_cannot_be_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let mut poster = Poster::new();
    let mut refused = |envelopes: &[Envelope]| post(&mailbox, &mut poster, envelopes).unwrap_err();
    assert!(matches!(refused(&[]), Error::Batch { count: 0, .. }));
    let many = vec![envelope("x", 5); ENVELOPES_PER_FILE_MAX + 1];
    assert!(matches!(refused(&many), Error::Batch { count: 513, .. }));
    let good = envelope("x", 5);
    let large = envelope("x", 5).with_payload(serde_json::json!({"text": "x".repeat(ENVELOPE_BYTES_MAX)}));
    let error = refused(&[good.clone(), large]);
    assert!(
        matches!(
            error,
            Error::Envelope {
                fault: Fault::TooLong { .. },
                ..
            }
        ),
        "{error}"
    );
    let half = envelope("x", 5).with_payload(serde_json::json!({"text": "x".repeat(ENVELOPE_BYTES_MAX / 2)}));
    let numbered = |number: usize| Envelope {
        id: format!("n{number}"),
        ..half.clone()
    };
    let halves: Vec<Envelope> = (0..200).map(numbered).collect();
    assert!(matches!(refused(&halves), Error::BatchBytes { .. }));
    let twice = refused(&[good.clone(), good.clone()]).to_string();
    assert!(twice.contains("id must be another one in each line"), "{twice}");
    let mut nested = serde_json::json!(1);
    for _ in 0..200 {
        nested = serde_json::json!([nested]);
    }
    let deep = envelope("x", 5).with_payload(serde_json::json!({ "deep": nested }));
    assert!(matches!(
        refused(&[deep]),
        Error::Envelope {
            fault: Fault::Json { .. },
            ..
        }
    ));
    let bad_name = refused(&[good, envelope("no spaces", 5)]).to_string();
    assert!(
        bad_name.contains(&dir.path().join("inbox").display().to_string()),
        "{bad_name}"
    );
    assert!(bad_name.contains("name must be 1 to 64 letters"), "{bad_name}");
    assert_eq!(mailbox.counts().unwrap().new, 0);
    assert_eq!(fs::read_dir(mailbox.dir().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_missing_mailbox_is_empty_to_readers_and_an_error_to_senders() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = Mailbox::new(dir.path().join("inbox"));
    assert_eq!(mailbox.counts().unwrap(), Counts::default());
    assert_eq!(mailbox.sweep_tmp(NOW).unwrap(), 0);
    for durability in [Durability::Batch, Durability::None] {
        let error = mailbox
            .post(&mut Poster::new(), &[envelope("x", 5)], durability, NOW)
            .unwrap_err();
        assert!(
            matches!(&error, Error::NoMailbox { path } if path == mailbox.dir()),
            "{error}"
        );
    }
}

#[test]
fn a_full_mailbox_says_so_to_old_and_new_senders() {
    let dir = tempfile::tempdir().unwrap();
    let mut mailbox = mailbox(dir.path());
    assert_eq!(mailbox.files_max, MAILBOX_FILES_MAX);
    mailbox.files_max = 100;
    let mut poster = Poster::new();
    for _ in 0..100 {
        post(&mailbox, &mut poster, &[envelope("x", 5)]).unwrap();
    }
    for mut poster in [poster, Poster::new()] {
        let error = post(&mailbox, &mut poster, &[envelope("x", 5)]).unwrap_err();
        assert!(matches!(error, Error::QueueFull { files: 100, .. }), "{error}");
        assert!(error.to_string().starts_with("queue full: "), "{error}");
    }
    read_first(&mailbox).0.finish().unwrap();
    post(&mailbox, &mut Poster::new(), &[envelope("x", 5)]).unwrap();
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_more() {
    let mailbox = Mailbox::new("/home/ipc/shop/inbox".into());
    assert!(mailbox.check_disk(DISK_FREE_BYTES_MIN + 10, 10).is_ok());
    let error = mailbox.check_disk(DISK_FREE_BYTES_MIN + 9, 10).unwrap_err();
    let text = "disk full: /home/ipc/shop/inbox has 4.0 MiB free and needs 4.0 MiB: make room there";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_bare_mv_is_enough_to_post() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let pretty = "{\n  \"id\": \"hand-1\",\n  \"kind\": \"command\",\n  \"name\": \"greet\"\n}\n";
    let lines =
        "{\"id\":\"a\",\"kind\":\"event\",\"name\":\"x\"}\r\n\n{\"id\":\"b\",\"kind\":\"event\",\"name\":\"x\"}";
    for (name, content, ids) in [
        ("x.json", pretty, vec!["hand-1"]),
        ("ä b.ndjson", lines, vec!["a", "b"]),
    ] {
        fs::write(dir.path().join("aside"), content).unwrap();
        fs::rename(dir.path().join("aside"), mailbox.new_dir().join(name)).unwrap();
        let (claimed, read) = read_one(&mailbox);
        let read: Vec<String> = read.unwrap().into_iter().map(|envelope| envelope.id).collect();
        assert_eq!(read, ids, "{name}");
        claimed.finish().unwrap();
    }
}

#[test]
fn a_second_file_of_one_name_does_not_push_out_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    for id in ["a", "b"] {
        let content = format!(r#"{{"id":"{id}","kind":"event","name":"x"}}"#);
        fs::write(mailbox.new_dir().join("x.json"), content).unwrap();
        let (_, read) = read_one(&mailbox);
        assert_eq!(read.unwrap()[0].id, id);
    }
    assert_eq!(mailbox.counts().unwrap(), Counts { new: 0, cur: 2 });
}

/// Every kind of thing that is no message: how it is put there, and a part of the reason it gets.
type Foreign = (&'static str, fn(&Path), &'static str);

fn foreign() -> Vec<Foreign> {
    const GOOD: &str = r#"{"id":"a","kind":"event","name":"x"}"#;
    vec![
        (
            "notes.txt",
            |path| fs::write(path, GOOD).unwrap(),
            "neither .ndjson nor .json",
        ),
        (
            "x.reason",
            |path| fs::write(path, GOOD).unwrap(),
            "neither .ndjson nor .json",
        ),
        ("dir.json", |path| fs::create_dir(path).unwrap(), "it is a folder"),
        (
            "link.json",
            |path| symlink("/etc/passwd", path).unwrap(),
            "it is a symbolic link",
        ),
        (
            "dangling.json",
            |path| symlink("/nowhere", path).unwrap(),
            "it is a symbolic link",
        ),
        (
            "pipe.json",
            |path| rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
            "it is a named pipe",
        ),
        (
            "socket.json",
            |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            "it is a socket",
        ),
        (
            "twice.json",
            |path| {
                let other = path.ancestors().nth(3).unwrap().join("twin");
                fs::write(&other, GOOD).unwrap();
                fs::hard_link(other, path).unwrap();
            },
            "it has 2 hard links",
        ),
        (
            "large.ndjson",
            |path| {
                fs::File::create(path)
                    .unwrap()
                    .set_len(MAILBOX_FILE_BYTES_MAX + 5)
                    .unwrap()
            },
            "it is 16777221 bytes long",
        ),
        ("empty.ndjson", |path| fs::write(path, "").unwrap(), "it is empty"),
        ("blank.ndjson", |path| fs::write(path, " \n\n").unwrap(), "it is empty"),
        (
            "latin.ndjson",
            |path| fs::write(path, b"{\"id\":\"\xe4\"}").unwrap(),
            "not UTF-8 from byte 7",
        ),
        (
            "torn.ndjson",
            |path| fs::write(path, &GOOD[..20]).unwrap(),
            "envelope 1: not valid JSON at column 20",
        ),
        (
            "half.ndjson",
            |path| fs::write(path, format!("{GOOD}\n{{}}\n")).unwrap(),
            "envelope 2: id is missing",
        ),
        (
            "new.ndjson",
            |path| fs::write(path, r#"{"v":2,"id":"a","kind":"event","name":"x"}"#).unwrap(),
            "version 2 is newer than 1",
        ),
        (
            "many.ndjson",
            |path| fs::write(path, format!("{GOOD}\n").repeat(513)).unwrap(),
            "more than 512 envelopes",
        ),
    ]
}

#[test]
fn what_is_no_message_is_set_aside_with_its_reason_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let dead = DeadLetters::new(dir.path().join("dead"));
    assert_eq!(dead.count().unwrap(), 0);
    for (number, (name, make, expected)) in foreign().into_iter().enumerate() {
        let path = mailbox.new_dir().join(name);
        make(&path);
        let before = fs::symlink_metadata(&path).unwrap();
        let (claimed, read) = read_one(&mailbox);
        let reason = reason(read);
        assert!(reason.contains(expected), "{name}: {reason}");
        let path = dead.bury(claimed, &reason, NOW).unwrap().unwrap();
        let after = fs::symlink_metadata(&path).unwrap();
        assert_eq!(
            (after.file_type(), after.len()),
            (before.file_type(), before.len()),
            "{name}"
        );
        assert_eq!(dead.count().unwrap(), number + 1);
        let letter = dead
            .list()
            .unwrap()
            .into_iter()
            .find(|letter| letter.path == path)
            .unwrap();
        assert_eq!(
            (letter.reason, letter.at, letter.from_box.as_deref()),
            (Some(reason), Some(NOW), Some("inbox"))
        );
    }
    assert_eq!(mailbox.counts().unwrap(), Counts::default());
}

#[test]
fn a_file_of_another_user_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let line = r#"{"id":"a","kind":"event","name":"x"}"#;
    let path = mailbox.new_dir().join("x.json");
    fs::write(&path, line).unwrap();
    // Only root can give a file away; the mailbox of another user is what a user can make.
    if chown(&path, Some(4711), None).is_ok() {
        let (claimed, read) = read_one(&mailbox);
        assert!(reason(read).starts_with("it belongs to uid 4711"));
        claimed.finish().unwrap();
        chown(mailbox.dir(), Some(4711), None).unwrap();
        fs::write(&path, line).unwrap();
        assert_eq!(read_one(&mailbox).1.unwrap().len(), 1, "root may post anywhere");
    }
}

#[test]
fn names_that_no_text_can_hold_are_set_aside_too() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let dead = DeadLetters::new(dir.path().join("dead"));
    for bytes in [
        b"\xff\xfe.json".to_vec(),
        [vec![b'n'; 250], b".json".to_vec()].concat(),
        b"a\nb".to_vec(),
    ] {
        fs::write(mailbox.new_dir().join(OsString::from_vec(bytes)), "?").unwrap();
        let (claimed, read) = read_one(&mailbox);
        let reason = reason(read);
        dead.bury(claimed, &reason, NOW).unwrap();
    }
    assert_eq!(
        (dead.count().unwrap(), mailbox.counts().unwrap()),
        (3, Counts::default())
    );
    assert!(dead.list().unwrap().iter().all(|letter| letter.reason.is_some()));
}

#[test]
fn graves_of_one_name_stand_side_by_side_and_may_lack_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let dead = DeadLetters::new(dir.path().join("dead"));
    for reason in ["first", "second"] {
        fs::write(mailbox.new_dir().join("x.json"), reason).unwrap();
        dead.bury(read_one(&mailbox).0, reason, NOW).unwrap();
    }
    assert_eq!(fs::read_to_string(dir.path().join("dead/x~1.json")).unwrap(), "second");
    fs::write(
        dir.path().join("dead/x~2.json.reason"),
        "of a file that an operator removed",
    )
    .unwrap();
    fs::write(mailbox.new_dir().join("x.json"), "third").unwrap();
    dead.bury(read_one(&mailbox).0, "third", NOW).unwrap();
    fs::remove_file(dir.path().join("dead/x.json.reason")).unwrap();
    let reasons: Vec<Option<String>> = dead.list().unwrap().into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [None, Some("second".to_owned()), Some("third".to_owned())]);
}

#[test]
fn only_old_files_are_swept_from_tmp() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = mailbox(dir.path());
    let path = mailbox.dir().join("tmp/left");
    fs::write(&path, "half").unwrap();
    let day = 24 * 3600 * 1_000_000;
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let written = i64::try_from(written.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    assert!(TMP_AGE_MAX > Duration::from_secs(24 * 3600) && TMP_AGE_MAX < Duration::from_secs(48 * 3600));
    assert_eq!(mailbox.sweep_tmp(Stamp(written + day)).unwrap(), 0);
    assert_eq!(mailbox.sweep_tmp(Stamp(written + 2 * day)).unwrap(), 1);
}

#[test]
fn ids_are_ulids_of_their_time() {
    let (early, late) = (
        new_id(Stamp(1_700_000_000_000_000)),
        new_id(Stamp(1_700_000_000_001_000)),
    );
    assert!(is_ulid(&early) && is_ulid(&late));
    assert!(early < late);
    assert!(is_ulid(&new_id(Stamp(-5))));
}

proptest! {
    #[test]
    fn no_content_and_no_name_panics(
        name in proptest::collection::vec(any::<u8>().prop_filter("no path", |b| *b != 0 && *b != b'/'), 1..60),
        extension in proptest::sample::select(vec!["", ".json", ".ndjson", ".1.ndjson"]),
        content in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = mailbox(dir.path());
        let mut name = name;
        name.extend_from_slice(extension.as_bytes());
        prop_assume!(name[0] != b'.');
        fs::write(mailbox.new_dir().join(OsString::from_vec(name)), content).unwrap();
        let (claimed, read) = read_one(&mailbox);
        let buried = DeadLetters::new(dir.path().join("dead")).bury(claimed, &reason(read), NOW);
        prop_assert!(buried.unwrap().is_some());
    }
}
