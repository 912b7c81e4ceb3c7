//! What `multibot explain` says of bots in each trouble.

use serde_json::Value;

use crate::harness::{Home, SLEEPER};

fn explained(home: &Home, bot: &str) -> Value {
    home.ok(&["explain", bot, "--json"]).json()
}

fn commands(explained: &Value) -> Vec<String> {
    let remedies = explained["remedies"].as_array().unwrap().iter();
    remedies.map(|it| it["command"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_bot_is_explained_from_what_happened_to_it() {
    let home = Home::new();
    home.create("well", SLEEPER);
    home.create("fails", "echo broken; exit 3");
    home.set("fails", &["restart.max_restarts=1"]);
    home.create_with("refused", &["--platform", "telegram"], "exit 77");
    home.create_with("down", &["--no-start"], SLEEPER);
    assert_eq!(commands(&explained(&home, "well")), ["multibot start"]);
    home.run(&["start"]);
    home.wait_state("fails", "failed");
    home.wait_state("refused", "held");
    let fails = explained(&home, "fails");
    assert_eq!(fails["state"], "failed");
    assert!(fails["tried"].to_string().contains("exited"), "{fails}");
    assert!(fails["next"].to_string().contains("tried again"), "{fails}");
    assert_eq!(
        commands(&fails)[..2],
        ["multibot logs fails -n 50", "multibot bot start fails"]
    );
    assert_eq!(
        commands(&explained(&home, "refused"))[0],
        "multibot bot rotate-token refused"
    );
    assert_eq!(commands(&explained(&home, "down")), ["multibot bot start down"]);
    let text = home.ok(&["explain", "fails"]).out;
    for part in [
        "fails is failed",
        "what happened:",
        "what happens next:",
        "what you can do:",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    home.run(&["explain", "fals"]).code(4).one_line(&["fails"]);
}
