//! `multibot export`: the stored bots as a file that `apply` reads.

use crate::cli::args::Export;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::{Settings, to_yaml};
use crate::output;

pub(in crate::cli) fn run(client: &Client, export: &Export) -> Result<Exit, Failure> {
    client.known(&export.bots)?;
    let mut text =
        String::from("# Tokens and credentials stay in the store: applying this file leaves them as they are.\n");
    let Some(store) = client.read_store()? else {
        output::out(&format!("{text}bots: []\n"))?;
        return Ok(Exit::Done);
    };
    let mut records = store.bots().list()?;
    records.retain(|record| export.bots.is_empty() || export.bots.contains(&record.id));
    text.push_str(if records.is_empty() { "bots: []\n" } else { "bots:\n" });
    let mut left_out = Vec::new();
    for record in records {
        let settings = Settings::from_json(&record.settings_json)?;
        let (entry, names) = to_yaml(record.id.as_str(), &settings, export.with_secrets);
        left_out.extend(names.into_iter().map(|name| format!("{} of {}", name, record.id)));
        text.push_str(&entry);
    }
    output::out(&text)?;
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        output::note(&format!(
            "left out, as they look like secrets: {names}; --with-secrets writes them too"
        ));
    }
    Ok(Exit::Done)
}
