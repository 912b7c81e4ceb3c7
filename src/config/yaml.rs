//! Turns the text of a YAML file into a tree of nodes, each with the line and column it was written at.
//!
//! A scalar stays the text that stands in the file: `012`, `no` and `1e3` are not touched, so that an
//! environment variable receives what its author wrote. What a text means is the business of `kind.rs`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

/// Depth of lists and mappings. Four levels are in use; a thousand would eat the stack.
const DEPTH_MAX: usize = 32;
/// Nodes that aliases may add, so that a small file cannot become a large tree.
const ALIASED_NODES_MAX: usize = 20_000;

/// Where something was written, both counted from 1; 0 where it did not come from a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One line of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Where the name stands.
    pub(super) place: Place,
    pub(super) node: Node,
}

/// What the YAML parser refused, in one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxFault {
    pub(super) place: Place,
    pub(super) message: String,
}

impl Node {
    pub(super) fn scalar(text: &str) -> Node {
        Node {
            place: Place::default(),
            shape: Shape::Scalar(text.to_owned()),
        }
    }

    pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> Node {
        Node {
            place: Place::default(),
            shape: Shape::List(items.into_iter().map(Node::scalar).collect()),
        }
    }

    /// The same tree from JSON, without places.
    pub(super) fn from_json(value: &serde_json::Value) -> Node {
        let shape = match value {
            serde_json::Value::Null => Shape::Null,
            serde_json::Value::Bool(flag) => Shape::Scalar(flag.to_string()),
            serde_json::Value::Number(number) => Shape::Scalar(number.to_string()),
            serde_json::Value::String(text) => Shape::Scalar(text.clone()),
            serde_json::Value::Array(items) => Shape::List(items.iter().map(Node::from_json).collect()),
            serde_json::Value::Object(map) => Shape::Map(
                map.iter()
                    .map(|(name, value)| Entry {
                        name: name.clone(),
                        place: Place::default(),
                        node: Node::from_json(value),
                    })
                    .collect(),
            ),
        };
        Node {
            place: Place::default(),
            shape,
        }
    }
}

/// Reads one YAML document; an empty text is a null node. Errors on bad YAML, a name that stands
/// twice in one mapping, and a second document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = serde_yaml::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_yaml::options::NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    options.alias_limits.max_total_replayed_events = ALIASED_NODES_MAX;
    if let Some(budget) = options.budget.as_mut() {
        budget.max_depth = DEPTH_MAX;
    }
    match serde_yaml::from_str_with_options::<Option<Spanned<Typed>>>(text, options) {
        Ok(Some(tree)) => Ok(with_source(tree, text)),
        Ok(None) => Ok(Node {
            place: Place { line: 1, column: 1 },
            shape: Shape::Null,
        }),
        Err(error) => Err(syntax_fault(&error)),
    }
}

fn syntax_fault(error: &serde_yaml::Error) -> SyntaxFault {
    let place = error.location().map_or_else(Place::default, place_of);
    if matches!(error.without_snippet(), serde_yaml::Error::MultipleDocuments { .. }) {
        return SyntaxFault {
            place,
            message: "a second document starts here; write several bots as a list under bots:".to_owned(),
        };
    }
    let full = error.render_with_formatter(&serde_yaml::UserMessageFormatter);
    let first = full.lines().next().unwrap_or_default();
    let suffix = format!(" at line {}, column {}", place.line, place.column);
    SyntaxFault {
        place,
        message: format!("not valid YAML: {}", first.strip_suffix(&suffix).unwrap_or(first)),
    }
}

fn place_of(location: Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}

/// What the deserializer hands over: scalars already typed, their source text reachable by the span only.
enum Typed {
    Null,
    /// A plain scalar that YAML takes for a number or a truth value, in the deserializer's spelling.
    Plain(String),
    Text(String),
    List(Vec<Spanned<Typed>>),
    Map(Vec<(Spanned<String>, Spanned<Typed>)>),
}

/// Replaces the typed spelling of plain scalars by what stands in the source.
fn with_source(tree: Spanned<Typed>, source: &str) -> Node {
    // A value that came through an alias or a merge is told at its origin: there it can be corrected.
    let place = place_of(tree.defined);
    let shape = match tree.value {
        Typed::Null => Shape::Null,
        Typed::Plain(spelling) => Shape::Scalar(source_text(tree.defined, source).unwrap_or(spelling)),
        Typed::Text(text) => Shape::Scalar(text),
        Typed::List(items) => Shape::List(items.into_iter().map(|item| with_source(item, source)).collect()),
        Typed::Map(entries) => Shape::Map(
            entries
                .into_iter()
                .map(|(name, value)| with_name(name, with_source(value, source)))
                .collect(),
        ),
    };
    Node { place, shape }
}

fn with_name(name: Spanned<String>, mut node: Node) -> Entry {
    let place = place_of(name.defined);
    // A value that is not there has no place of its own.
    if node.shape == Shape::Null {
        node.place = place;
    }
    Entry {
        name: name.value,
        place,
        node,
    }
}

/// The characters of a plain number or truth value; None where the span holds anything else.
fn source_text(location: Location, source: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(len)?)?.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Typed, D::Error> {
        deserializer.deserialize_any(TypedVisitor)
    }
}

struct TypedVisitor;

impl<'de> Visitor<'de> for TypedVisitor {
    type Value = Typed;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Typed, E> {
        Ok(Typed::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Typed, E> {
        Ok(Typed::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Typed, E> {
        Ok(Typed::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Typed, E> {
        Ok(Typed::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Typed, E> {
        Ok(Typed::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Typed, E> {
        Ok(Typed::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Typed, E> {
        Ok(Typed::Plain(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Typed, E> {
        Ok(Typed::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Typed, E> {
        Ok(Typed::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Typed, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Typed::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Typed, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Typed::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mutation::mutated;
    use proptest::prelude::*;

    fn scalar_of(text: &str, name: &str) -> Option<String> {
        let Ok(Node {
            shape: Shape::Map(entries),
            ..
        }) = parse(text)
        else {
            return None;
        };
        let entry = entries.into_iter().find(|entry| entry.name == name)?;
        match entry.node.shape {
            Shape::Scalar(text) => Some(text),
            Shape::Null | Shape::List(_) | Shape::Map(_) => None,
        }
    }

    #[test]
    fn scalars_stay_the_text_of_the_file() {
        for text in [
            "012",
            "no",
            "on",
            "y",
            "1e3",
            "1.50",
            "0x10",
            "0o17",
            "1_000",
            "+5",
            "-0",
            ".inf",
            ".NaN",
            "TRUE",
            "true",
            "1e999",
            "18446744073709551616",
            "99999999999999999999999999999999999999999",
            "2020-01-01",
            "1.2.3",
            "10:30",
            "x y",
        ] {
            for (file, name) in [
                (format!("A: {text}\n"), "A"),
                (format!("\u{feff}# ä\nA:   {text}   # comment\n"), "A"),
                (format!("{{ä: 1, A: {text}}}"), "A"),
                (format!("X: &a {text}\nA: *a\n"), "A"),
                (format!("A: !!str {text}\n"), "A"),
                (format!("A: '{text}'\n"), "A"),
            ] {
                assert_eq!(scalar_of(&file, name).as_deref(), Some(text), "{file:?}");
            }
        }
        assert_eq!(scalar_of("x: &x {A: 010, B: no}\nA: 1\n", "A").as_deref(), Some("1"));
    }

    #[test]
    fn a_merge_keeps_text_and_origin() {
        let Ok(Node {
            shape: Shape::Map(entries),
            ..
        }) = parse("x: &x {A: 010, B: no}\ny:\n  <<: *x\n  B: 1.0\n")
        else {
            panic!("it is a mapping");
        };
        let Shape::Map(merged) = &entries[1].node.shape else {
            panic!("y is a mapping");
        };
        let mut found: Vec<_> = merged
            .iter()
            .map(|entry| (entry.name.as_str(), entry.node.shape.clone(), entry.node.place.line))
            .collect();
        found.sort_by_key(|(name, _, _)| *name);
        assert_eq!(
            found,
            [
                ("A", Shape::Scalar("010".into()), 1),
                ("B", Shape::Scalar("1.0".into()), 4)
            ]
        );
    }

    #[test]
    fn nothing_written_is_null() {
        for text in ["", "# only a comment\n", "---\n", "~\n", "\u{feff}"] {
            assert_eq!(parse(text).map(|node| node.shape), Ok(Shape::Null), "{text:?}");
        }
    }

    #[test]
    fn bad_yaml_is_one_line_with_its_place() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let cases: &[(&str, u64, u64, &str)] = &[
            ("a: [1, 2\n", 1, 4, "not valid YAML: unclosed bracket '['"),
            (
                "a: 1\na: 2\n",
                2,
                1,
                "not valid YAML: duplicate mapping key `a` is not allowed here",
            ),
            ("a: *b\n", 1, 4, "not valid YAML: reference to unknown value"),
            (
                "a: 1\n---\nb: 2\n",
                3,
                1,
                "a second document starts here; write several bots as a list under bots:",
            ),
            (
                &deep,
                1,
                33,
                "not valid YAML: YAML document too large or too complex: limits breached: Depth { depth: 33 }",
            ),
        ];
        for (text, line, column, message) in cases {
            let fault = parse(text).expect_err(text);
            assert_eq!((fault.place.line, fault.place.column), (*line, *column), "{text:?}");
            assert_eq!(fault.message, *message);
        }
    }

    #[test]
    fn a_small_file_cannot_become_a_large_tree() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(parse(&text).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    /// Everything that the bots' files use of YAML.
    const EXAMPLE: &str = "\
# comment
x-shared: &shared {delay: 5s, factor: 1.5}
bots:
  - id: shop
    command: [python3, \"shop.py\", 'it''s']
    env: {A: \"1\\n\", B: ~, ? C : d}
    restart:
      <<: *shared
      policy: always
  - id: other
    text: |
      two
      lines
    folded: >-
      one
      line
";
    const WORDS: &[&str] = &[
        "\n",
        "  ",
        "\t",
        "- ",
        ": ",
        "? ",
        "&a ",
        "*a",
        "*shared",
        "<<: ",
        "!!binary ",
        "!x ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "|",
        ">",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "#",
        "\u{feff}",
        "\u{2028}",
        "\0",
        "\r",
    ];

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_damaged_file_is_a_tree_or_one_line_that_says_where(
            bytes in mutated(Just(EXAMPLE.to_owned()), WORDS),
        ) {
            if let Err(fault) = parse(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(!fault.message.is_empty() && !fault.message.contains('\n'), "{}", fault.message);
            }
        }
    }
}
