//! For property tests: texts that are nearly right, which reach further into a reader than noise does.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

/// One change to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Replace(Index, u8),
    Remove(Index),
    Insert(Index, Vec<u8>),
    /// What stands from one place to the other, once more.
    Double(Index, Index),
    Cut(Index),
}

/// These texts with up to five changes: bytes replaced, removed and inserted, parts doubled, the end torn off, and
/// `words` put in anywhere.
pub(crate) fn mutated(
    texts: impl Strategy<Value = String>,
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let place = any::<Index>;
    let change = prop_oneof![
        3 => (place(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        3 => (place(), b' '..=b'~').prop_map(|(at, byte)| Change::Replace(at, byte)),
        3 => place().prop_map(Change::Remove),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        4 => (place(), prop::sample::select(words)).prop_map(|(at, word)| Change::Insert(at, word.into())),
        2 => (place(), place()).prop_map(|(from, to)| Change::Double(from, to)),
        1 => place().prop_map(Change::Cut),
    ];
    (texts, prop::collection::vec(change, 0..6)).prop_map(|(text, changes)| changes.iter().fold(text.into(), changed))
}

fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    let length = bytes.len();
    match change {
        Change::Replace(..) | Change::Remove(_) if length == 0 => {}
        Change::Replace(at, byte) => bytes[at.index(length)] = *byte,
        Change::Remove(at) => drop(bytes.remove(at.index(length))),
        Change::Insert(at, word) => {
            let at = at.index(length + 1);
            bytes.splice(at..at, word.iter().copied());
        }
        Change::Double(from, to) => {
            let (from, to) = (from.index(length + 1), to.index(length + 1));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(from..from, part);
        }
        Change::Cut(at) => bytes.truncate(at.index(length + 1)),
    }
    bytes
}

/// These objects with up to three fields removed, or given a value of any type and size.
pub(crate) fn mutated_object(
    objects: impl Strategy<Value = Map<String, Value>>,
    names: &'static [&'static str],
) -> impl Strategy<Value = Map<String, Value>> {
    let change = (prop::sample::select(names), prop::option::weighted(0.9, odd_value()));
    (objects, prop::collection::vec(change, 0..4)).prop_map(|(mut object, changes)| {
        for (name, value) in changes {
            match value {
                Some(value) => drop(object.insert(name.to_owned(), value)),
                None => drop(object.shift_remove(name)),
            }
        }
        object
    })
}

/// Values at the edges of every type.
fn odd_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![0i64, 1, -1, 9, 10, 1 << 32]).prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "*",
            ".",
            "command",
            "2026-01-31T08:30:00Z",
            "9999-12-31T23:59:60Z"
        ])
        .prop_map(Value::from),
        "(?s).{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,4}", inner, 0..4).prop_map(|fields| json!(fields)),
        ]
    })
}
