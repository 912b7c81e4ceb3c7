//! Bots that another tool had.

use serde_json::json;

use crate::harness::{Home, SLEEPER};

const ENV: &str = "\
# three workers
TELEGRAM_BOT_TOKEN=11:AAsecretone, 12:AAsecrettwo,13:AAsecretthree
MEDIA_TMP_LOCATION=/tmp/multibot-import-media
CLEAN_UP_MEDIADIR=true
OPENAI_KEY=\"hush hush\"
PORT=8080
";

#[test]
fn a_file_with_several_tokens_becomes_several_bots() {
    let home = Home::new();
    let file = home.write(".env", ENV);
    let file = file.to_str().unwrap();
    let script = format!("echo index $BOT_INDEX port $PORT token ${{#BOT_TOKEN}} ${{#TELEGRAM_BOT_TOKEN}}; {SLEEPER}");
    let command = ["--", "/bin/sh", "-c", script.as_str()];
    let import = |flags: &[&str]| home.run(&[&["import", "dotenv", file], flags, &command[..]].concat());
    let plan = import(&["--dry-run", "--json"]).code(10).records();
    let ids: Vec<&serde_json::Value> = plan.iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!("bot-0"), &json!("bot-1"), &json!("bot-2")]);
    assert_eq!(plan[1]["media_dir"], "/tmp/multibot-import-media/bot-1");
    assert_eq!(plan[0]["variables"], json!(["OPENAI_KEY", "PORT"]));
    let made = import(&[]).code(0);
    for secret in ["AAsecret", "hush"] {
        assert!(!made.out.contains(secret) && !made.err.contains(secret));
    }
    home.set("bot-0", &["media.clean_on_start=false", "media.dir="]);
    home.ok(&["bot", "remove", "bot-1"]);
    home.ok(&["bot", "set", "bot-2", "media.clean_on_start=false", "media.dir="]);
    home.ok(&["start"]);
    home.wait_log("bot-0", "index 0 port 8080 token 14 14");
    home.wait_log("bot-2", "index 2 port 8080 token 16 16");
    import(&[]).code(1).one_line(&["bot-0"]);
    let nothing = home.write("empty.env", "PORT=1\n");
    home.run(&["import", "dotenv", nothing.to_str().unwrap()])
        .code(2)
        .one_line(&["TELEGRAM_BOT_TOKEN"]);
}
