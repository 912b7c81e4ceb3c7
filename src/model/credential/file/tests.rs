//! Files as people write them, and exchanges between two sides.

use proptest::prelude::*;

use super::*;
use crate::model::bot::Secret;

const NOW: Stamp = Stamp(1_800_000_000_000_000);

fn field(owner: &str, name: &str, value: &str, ms: i64) -> Field {
    Field {
        owner: match owner {
            "*" => Owner::Shared,
            id => Owner::Bot(id.parse().unwrap()),
        },
        name: name.parse().unwrap(),
        value: Secret::new(value.to_owned()),
        updated_at: Stamp::from_unix_ms(ms),
    }
}

#[test]
fn a_file_is_read_and_what_else_it_holds_is_kept() {
    let text = r#"{"comment": 7, "shared": {"k": {"value": " x ", "updatedAt": 5, "note": "mine"}},
        "bots": {"shop": {"token": {"value": "1:a", "updatedAt": "1970-01-01T00:00:00.007Z"}}}}"#;
    let file = CredentialsFile::parse(text, NOW).unwrap();
    assert_eq!(
        file.fields(),
        [field("*", "k", "x", 5), field("shop", "token", "1:a", 7)]
    );
    let changed = [field("*", "k", "y", 9), field("rave", "z", "2", 9)];
    let written = file.with(&changed);
    let again = CredentialsFile::parse(&written, NOW).unwrap();
    assert_eq!(
        again.fields(),
        [changed[0].clone(), field("shop", "token", "1:a", 7), changed[1].clone()]
    );
    let value: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(
        (&value["comment"], &value["shared"]["k"]["note"]),
        (&json!(7), &json!("mine"))
    );
    assert!(CredentialsFile::parse(" \n", NOW).unwrap().fields().is_empty());
}

#[test]
fn faults_name_their_place_and_no_value() {
    let entry = |entry: &str| format!(r#"{{"bots":{{"shop":{{"key":{entry}}}}}}}"#);
    for (text, said) in [
        ("[]".to_owned(), "it must hold one JSON object with shared and bots"),
        ("{\n x".to_owned(), "not JSON at line 2, column 2"),
        (r#"{"bots":[]}"#.to_owned(), "bots: write an object"),
        (r#"{"bots":{"Shop":{}}}"#.to_owned(), "bots: \"Shop\" is not a bot id"),
        (r#"{"shared":1}"#.to_owned(), "shared: write an object"),
        (
            r#"{"shared":{"token":{"value":"hunter2","updatedAt":1}}}"#.to_owned(),
            "shared: a token cannot be shared",
        ),
        (
            r#"{"shared":{"Bad":{"value":"hunter2","updatedAt":1}}}"#.to_owned(),
            "shared: \"Bad\" is no name of a field",
        ),
        (entry(r#""hunter2""#), "bots.shop: key: it needs \"value\""),
        (
            entry(r#"{"value":"hunter2"}"#),
            "bots.shop: key: it needs \"updatedAt\"",
        ),
        (
            entry(r#"{"value":"hunter2","updatedAt":"soon"}"#),
            "bots.shop: key: it needs \"updatedAt\"",
        ),
        (
            entry(r#"{"value":"hunter2","updatedAt":"2999-01-01T00:00:00Z"}"#),
            "bots.shop: key: updatedAt 2999",
        ),
        (
            entry(r#"{"value":" ","updatedAt":1}"#),
            "bots.shop: key: value: it is empty",
        ),
    ] {
        let faults = CredentialsFile::parse(&text, NOW).unwrap_err();
        assert!(
            faults[0].starts_with(said) && !faults[0].contains("hunter2"),
            "{faults:?}"
        );
    }
}

#[test]
fn the_newer_side_wins_and_a_tie_is_shown() {
    let store = [
        field("a", "same", "1", 1),
        field("a", "older", "1", 1),
        field("a", "newer", "1", 3),
        field("a", "tie", "1", 2),
        field("*", "only_here", "1", 1),
    ];
    let file = [
        field("a", "same", "1", 9),
        field("a", "older", "2", 2),
        field("a", "newer", "2", 2),
        field("a", "tie", "2", 2),
        field("b", "only_there", "2", 1),
    ];
    let both = exchange(&store, &file, Direction::Both, None);
    assert_eq!(both.to_store, [file[1].clone(), file[4].clone()]);
    assert_eq!(both.to_file, [store[2].clone(), store[4].clone()]);
    assert_eq!(both.conflicts, [(store[3].owner.clone(), store[3].name.clone())]);
    assert_eq!(both.left, 1);
    let import = exchange(&store, &file, Direction::Import, Some(Side::Store));
    assert_eq!((import.to_store.len(), import.to_file.len(), import.left), (2, 0, 4));
    let export = exchange(&store, &file, Direction::Export, Some(Side::Store));
    assert_eq!(export.to_file, [store[2].clone(), store[3].clone(), store[4].clone()]);
    assert_eq!((export.to_store.len(), export.conflicts.len(), export.left), (0, 0, 3));
    let settled = exchange(&store, &file, Direction::Both, Some(Side::File));
    assert!(settled.to_store.contains(&file[3]) && settled.conflicts.is_empty());
}

fn side() -> impl Strategy<Value = Vec<Field>> {
    let one = (prop::sample::select(vec!["*", "a", "b"]), 0..3usize, 0..3u8, 0..4i64);
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let mut fields: Vec<Field> = Vec::new();
        for (owner, name, value, ms) in all {
            let field = field(owner, ["x", "y", "z"][name], &value.to_string(), ms);
            if !fields.iter().any(|it| it.owner == field.owner && it.name == field.name) {
                fields.push(field);
            }
        }
        fields
    })
}

fn after(side: &[Field], changes: &[Field]) -> Vec<Field> {
    let is_changed = |field: &&Field| {
        changes
            .iter()
            .any(|it| it.owner == field.owner && it.name == field.name)
    };
    let kept = side.iter().filter(|field| !is_changed(field)).cloned();
    kept.chain(changes.iter().cloned()).collect()
}

proptest! {
    #[test]
    fn once_exchanged_both_sides_are_alike(store in side(), file in side(), to_file: bool) {
        let prefer = if to_file { Side::Store } else { Side::File };
        let plan = exchange(&store, &file, Direction::Both, Some(prefer));
        let (new_store, new_file) = (after(&store, &plan.to_store), after(&file, &plan.to_file));
        let again = exchange(&new_store, &new_file, Direction::Both, None);
        prop_assert_eq!((again.to_store, again.to_file, again.conflicts), (vec![], vec![], vec![]));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = CredentialsFile::parse(&text, NOW);
    }
}
