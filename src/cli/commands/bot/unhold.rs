//! `multibot bot unhold`

use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::model::bot::BotId;
use crate::output;

pub(super) fn run(client: &Client, bots: &[BotId]) -> Result<Exit, Failure> {
    client.known(bots)?;
    let store = client.store()?;
    let mut let_go = Vec::new();
    for bot in bots {
        let held = store.transaction(|store| {
            let held = store.holds().release(bot)?;
            if let Some(judgement) = &held {
                let detail = format!("was held: {}", judgement.class.word());
                client.audit(store, "bot unhold", Some(bot), &detail)?;
            }
            Ok::<_, Failure>(held)
        })?;
        match held {
            Some(_) => let_go.push(bot.to_string()),
            None => output::note(&format!("{bot} is not held by its platform; nothing to do")),
        }
    }
    if let_go.is_empty() {
        return Ok(Exit::Done);
    }
    let effect = match client.reload()? {
        None => "no supervisor runs; what is wanted starts with: multibot start",
        Some(_) => "what is wanted starts now",
    };
    output::note(&format!("let go: {}; {effect}", let_go.join(", ")));
    Ok(Exit::Done)
}
