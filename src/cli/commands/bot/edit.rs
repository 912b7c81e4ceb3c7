//! `multibot bot edit`: a bot's settings as YAML in the operator's editor.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

use crate::cli::client::Client;
use crate::cli::commands::apply;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::hidden;
use crate::config::{Settings, to_yaml};
use crate::model::bot::BotId;
use crate::output;

/// Opens the editor until what was written can be applied, or the operator gives up. Nothing is changed before.
pub(super) fn run(client: &Client, id: &BotId) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "bot edit needs a terminal; in a script write: multibot bot set {id} KEY=VALUE"
        )));
    }
    let record = client.store()?.bots().get(id)?;
    let settings = Settings::from_json(&record.settings_json)?;
    // It is the operator's own file, which only the operator can read.
    let (entry, _) = to_yaml(id.as_str(), &settings, true);
    let dir = client.home.dir().join("run");
    let file = dir.join(format!("edit-{}-{}.yaml", std::process::id(), id));
    let head = "# Save and leave the editor to see what would change. The token stays in the store.\nbots:\n";
    write(&file, &format!("{head}{entry}"))?;
    let outcome = edit(client, &file);
    let _ = std::fs::remove_file(&file);
    outcome
}

fn edit(client: &Client, file: &Path) -> Result<Exit, Failure> {
    loop {
        open_editor(file)?;
        match apply::edited(client, file) {
            Err(Failure::Config(faults)) => {
                output::error(&output::visible(&faults.to_string()));
                if !hidden::is_agreed("edit it again? [y/N] ")? {
                    return Err(Failure::Refused("nothing was changed".to_owned()));
                }
            }
            outcome => return outcome,
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let cannot = || Failure::io(format!("cannot write {}", file.display()));
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(cannot())?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(cannot())?;
    opened.write_all(text.as_bytes()).map_err(cannot())
}

/// `$VISUAL`, else `$EDITOR`, else vi; it may have arguments.
fn open_editor(file: &Path) -> Result<(), Failure> {
    let named = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let editor = named
        .filter(|editor| !editor.trim().is_empty())
        .unwrap_or_else(|| "vi".to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Command::new(program).args(words).arg(file).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Refused(format!("{editor}: {status}; nothing was changed"))),
        Err(error) => Err(Failure::Refused(format!("cannot start {editor}: {error}; set EDITOR"))),
    }
}
