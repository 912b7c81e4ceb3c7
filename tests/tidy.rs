//! The rules of the house as a test: which module may use which, which words belong to one place only,
//! and how large things may grow. Reads the sources as text, needs nothing but std.
//!
//! Tests beside the code are left out: what they use and how long they are is their own business.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/source.rs"]
mod source;

use source::{Source, functions, tops};

/// The modules by layer. A module uses strictly lower layers: never a peer, never upward. So shim and
/// supervisor never see each other, and no module of layer 1 reads the clock or another one's files.
const LAYERS: [&[&str]; 6] = [
    // Words of the domain.
    &["model"],
    // One thing each: what is on the disk, in the terminal, in time.
    &[
        "clock", "config", "home", "log", "output", "platform", "run", "spool", "store",
    ],
    // Programs that live side by side, and the supervisor's own log.
    &["alerts", "init", "monitor", "runner", "shim", "supervisor", "trace"],
    // Puts a supervisor together.
    &["daemon"],
    &["cli"],
    // The program itself.
    &["lib", "main"],
];

/// Words that may stand in these places only, and why.
const RESERVED: &[(&[&str], &[&str], &str)] = &[
    (&["rusqlite"], &["store/"], "only the store knows which database it is"),
    (
        &["println!", "print!", "eprintln!", "eprint!"],
        &[],
        "they panic when nobody reads on: use output",
    ),
    (
        &["stdout()", "stderr()"],
        &["output/"],
        "what is printed goes through output",
    ),
    (
        &[
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "clock_gettime",
        ],
        &["clock.rs"],
        "time is read in one place, so that everything else can be tested without it",
    ),
    (
        &["Command::new", "posix_spawn", "libc::fork"],
        &[
            "shim/spawn.rs",
            "supervisor/shims.rs",
            "cli/commands/bot/edit.rs",
            "cli/commands/start.rs",
            "cli/commands/upgrade.rs",
            "init.rs",
            "monitor/probes/exec.rs",
            "run/handover.rs",
            "alerts/exec.rs",
            "supervisor/login.rs",
            "run/program.rs",
        ],
        "processes are started where it is told: the bot, its shim, the supervisor and the next one, the child of process 1, \
          the programs that ask bots, the hooks of operators, what gets credentials, and the operator's editor",
    ),
    (
        &["unsafe"],
        &["shim/spawn.rs", "run/inheritance.rs", "run/names.rs"],
        "each unsafe block is known by its file",
    ),
    (&["process::exit"], &[], "main returns the exit code"),
    (
        &["todo!", "unimplemented!", "dbg!"],
        &[],
        "what is not done is not merged",
    ),
    (&["#[allow", "#![allow"], &[], "use expect with a reason"),
];

/// Names under which anything could be put.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "manager", "common", "misc"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that have outgrown the bound, each with the number of lines that it may have. A number here is a
/// debt: it may only become smaller.
const LONG_FILES: &[(&str, usize)] = &[];

#[test]
fn every_module_uses_lower_layers_only() {
    report(sources().iter().flat_map(wrong_uses).collect());
}

#[test]
fn every_module_has_a_layer() {
    let known: BTreeSet<&str> = LAYERS.iter().flat_map(|layer| layer.iter().copied()).collect();
    let found: BTreeSet<String> = sources().iter().map(|source| source.top().to_owned()).collect();
    assert_eq!(known, found.iter().map(String::as_str).collect());
}

#[test]
fn reserved_words_stand_where_they_belong() {
    report(sources().iter().flat_map(reserved_words).collect());
}

#[test]
fn every_place_of_a_reserved_word_is_still_needed() {
    let all = sources();
    for (words, places, _) in RESERVED {
        for place in *places {
            let is_used = all
                .iter()
                .filter(|source| source.name.starts_with(place))
                .any(|source| words.iter().any(|word| !lines_with(&source.code, word).is_empty()));
            assert!(
                is_used,
                "{place} has none of {words:?} any more: strike it from the table"
            );
        }
    }
}

#[test]
fn files_and_functions_stay_small() {
    let all = sources();
    report(all.iter().flat_map(too_long).collect());
    for (name, _) in LONG_FILES {
        let is_long = |source: &Source| source.name == *name && source.lines() > FILE_LINES_MAX;
        assert!(
            all.iter().any(is_long),
            "{name} is not too long any more: strike it from the table"
        );
    }
}

#[test]
fn files_are_clean_and_say_what_they_are() {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.extend(untidy(&name, &text));
        }
    }
    report(found);
}

/// Uses of modules that are not below the file's own.
fn wrong_uses(source: &Source) -> Vec<String> {
    let own = source.top();
    let Some(layer) = layer_of(own) else { return Vec::new() };
    tops(source)
        .into_iter()
        .filter(|(_, used)| used != own)
        .filter(|(_, used)| layer_of(used).is_some_and(|below| below >= layer))
        .map(|(line, used)| format!("src/{}:{line}: {own} may not use {used}", source.name))
        .collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn reserved_words(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (words, places, why) in RESERVED {
        if places.iter().any(|place| source.name.starts_with(place)) {
            continue;
        }
        for word in *words {
            for line in lines_with(&source.code, word) {
                found.push(format!("src/{}:{line}: {word}: {why}", source.name));
            }
        }
    }
    found
}

/// The lines on which a word stands, not as a part of a longer one, nor as somebody's method.
fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let starts_alone = word.starts_with(is_part);
    let ends_alone = word.ends_with(is_part);
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let stands = line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let goes_back = starts_alone && before.is_some_and(|c| is_part(c) || c == '.');
            let goes_on = ends_alone && after.is_some_and(is_part);
            !goes_back && !goes_on
        });
        if stands {
            found.push(number + 1);
        }
    }
    found
}

fn too_long(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.lines();
    let granted = LONG_FILES.iter().find(|(name, _)| *name == source.name);
    let max = granted.map_or(FILE_LINES_MAX, |(_, lines)| *lines);
    if lines > max {
        found.push(format!(
            "src/{} has {lines} lines, at most {max}: look for the second noun",
            source.name
        ));
    }
    for (name, line, length) in functions(&source.code) {
        if length > FUNCTION_LINES_MAX {
            found.push(format!(
                "src/{}:{line}: {name} has {length} lines, at most {FUNCTION_LINES_MAX}",
                source.name
            ));
        }
    }
    found
}

fn untidy(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{name}: its first line must say what it is, after //!"));
    }
    let stem = Path::new(name)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if EMPTY_NAMES.contains(&stem.as_str()) {
        found.push(format!("{name}: a name under which anything could be put"));
    }
    // Spelled in pieces, so that this file may name them.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX:")];
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if line.contains('\t') {
            found.push(format!("{name}:{number}: a tab"));
        }
        if line.ends_with(' ') {
            found.push(format!("{name}:{number}: blanks at its end"));
        }
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            found.push(format!("{name}:{number}: {mark}: do it, or open an issue"));
        }
    }
    found
}

fn report(found: Vec<String>) {
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of the crate, without tests.
fn sources() -> Vec<Source> {
    let dir = root().join("src");
    let files = rust_files(&dir);
    assert!(files.len() > 50, "the sources are not where they were");
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&dir).unwrap_or(path).display().to_string();
        Source::new(&name, &fs::read_to_string(path).expect("a source can be read"))
    };
    let all: Vec<Source> = files.iter().map(read).collect();
    let of_tests: BTreeSet<String> = all.iter().flat_map(Source::test_files).collect();
    all.into_iter()
        .filter(|source| !of_tests.contains(&source.name))
        .collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What the checks above say of a file with this text.
fn faults(name: &str, text: &str) -> Vec<String> {
    let source = Source::new(name, text);
    [wrong_uses(&source), reserved_words(&source), too_long(&source)].concat()
}

#[test]
fn planted_uses_are_caught() {
    for (name, text) in [
        ("store/db.rs", "use crate::config::Key;"),
        ("config/mod.rs", "use crate::{model::bot, store};"),
        (
            "config/mod.rs",
            "use crate::{\n    model::{bot, units},\n    log::{Mask, tail},\n};",
        ),
        ("model/bot.rs", "fn now() -> u64 { crate::clock::now() }"),
        ("spool/mailbox.rs", "fn f() { super::super::clock::now(); }"),
        ("home.rs", "use super::config::Settings;"),
        ("shim/keeper.rs", "use crate::supervisor::machine;"),
        ("supervisor/process.rs", "use crate::shim;"),
        ("supervisor/fleet.rs", "impl crate::cli::View {}"),
        ("daemon.rs", "use crate::cli;"),
        ("cli/mod.rs", "use crate :: main;"),
    ] {
        let found = faults(name, text);
        assert_eq!(found.len(), 1, "{name}: {text}: {found:?}");
        assert!(found[0].contains(" may not use "), "{found:?}");
    }
}

#[test]
fn allowed_uses_are_not() {
    for (name, text) in [
        (
            "store/db.rs",
            "use crate::store::error;\nuse crate::model::bot;\nuse super::error;",
        ),
        ("cli/commands/up.rs", "use super::super::view;\nuse crate::daemon;"),
        (
            "shim/mod.rs",
            "// like crate::supervisor\n/* crate::cli */ const A: &str = \"crate::cli\";",
        ),
        ("config/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::store;\n}"),
        (
            "log/mask.rs",
            "const Q: char = '\"'; const R: &str = r#\"\" crate::cli \"#; const B: &[u8] = b\"\\\"\";",
        ),
        (
            "run/lock.rs",
            "fn f<'a>(x: &'a str) -> &'a str { x } // ' \" crate::cli",
        ),
    ] {
        assert_eq!(faults(name, text), Vec::<String>::new(), "{name}: {text}");
    }
}

#[test]
fn planted_words_are_caught() {
    for (name, text) in [
        ("spool/mod.rs", "use rusqlite::Connection;"),
        ("cli/view.rs", "fn f() { println!(\"x\"); }"),
        ("cli/view.rs", "fn f() { let _ = io::stderr(); }"),
        ("monitor/rules.rs", "let at = std::time::Instant::now();"),
        ("daemon.rs", "std::process::Command::new(\"x\");"),
        ("run/lock.rs", "unsafe { f() }"),
        ("run/lock.rs", "fn f() { dbg!(1); }"),
        ("run/lock.rs", "#[allow(dead_code)] fn f() {}"),
    ] {
        assert_eq!(faults(name, text).len(), 1, "{name}: {text}: {:?}", faults(name, text));
    }
    for (name, text) in [
        (
            "cli/view.rs",
            "Style::of_stdout(); child.stdout(); fn eprintln_like() {}",
        ),
        ("clock.rs", "Instant::now();"),
        ("store/bots.rs", "use rusqlite::Row;"),
        (
            "run/lock.rs",
            "// unsafe\nconst UNSAFE: &str = \"unsafe\"; let unsafely = 1;",
        ),
    ] {
        assert_eq!(faults(name, text), Vec::<String>::new(), "{name}: {text}");
    }
}

#[test]
fn planted_sizes_are_caught() {
    let long_file = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(faults("run/lock.rs", &long_file).len(), 1);
    let body = "    step();\n".repeat(FUNCTION_LINES_MAX - 2);
    let just_right = format!("fn f(x: Option<fn(u8)>) -> u8 {{\n{body}}}\n");
    assert_eq!(faults("run/lock.rs", &just_right), Vec::<String>::new());
    let too_long =
        format!("impl A {{\n    pub(super) fn long() -> u8\n    where\n        A: B,\n    {{\n{body}}}\n}}\n");
    let found = faults("run/lock.rs", &too_long);
    assert!(
        found.len() == 1 && found[0].starts_with("src/run/lock.rs:2: long has "),
        "{found:?}"
    );
    let with_comments = just_right.replacen("step();", "step();\n\n    // why\n", 30);
    assert_eq!(faults("run/lock.rs", &with_comments), Vec::<String>::new());
}

#[test]
fn planted_dirt_is_caught() {
    assert_eq!(untidy("src/a.rs", "//! What it is.\nfn f() {}\n"), Vec::<String>::new());
    for (name, text) in [
        ("src/a.rs", "fn f() {}\n"),
        ("src/a.rs", "//! What.\n\tfn f() {}\n"),
        ("src/a.rs", "//! What.\nfn f() {} \n"),
        ("src/a.rs", concat!("//! What.\n// TO", "DO later\n")),
        ("src/utils.rs", "//! What.\n"),
    ] {
        assert_eq!(untidy(name, text).len(), 1, "{name}: {text:?}");
    }
}
