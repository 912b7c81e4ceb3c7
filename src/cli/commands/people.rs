//! `multibot admin` and `multibot permission`: who may do what in the chats of all bots. Works on the store, with and
//! without a supervisor; one that runs tells its bots.

use serde_json::json;

use crate::cli::args::{AdminVerb, PermissionVerb};
use crate::cli::client::{Client, actor};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::people::{ADMIN_COMMANDS, Change, ChangeError, Level, UserRef};
use crate::model::units::show_age;
use crate::output::{self, Cell, Column, Style, Table};
use crate::store::{By, Refusal};

pub(in crate::cli) fn admin(client: &Client, verb: &AdminVerb) -> Result<Exit, Failure> {
    let user = |text: &str| UserRef::parse(text).map_err(usage);
    match verb {
        AdminVerb::List(args) => list_admins(client, args.json),
        AdminVerb::Add(args) => change(client, &Change::AddAdmin(user(&args.user)?)),
        AdminVerb::Remove(args) => change(client, &Change::RemoveAdmin(user(&args.user)?)),
    }
}

pub(in crate::cli) fn permission(client: &Client, verb: &PermissionVerb) -> Result<Exit, Failure> {
    match verb {
        PermissionVerb::List(args) => list_permissions(client, args.json),
        PermissionVerb::Set(args) => {
            let level = Level::from_word(&args.level).unwrap_or(Level::Admin);
            change(client, &Change::set_permission(&args.command, level).map_err(usage)?)
        }
        PermissionVerb::Remove(args) => change(client, &Change::remove_permission(&args.command).map_err(usage)?),
    }
}

fn usage(error: ChangeError) -> Failure {
    Failure::Usage(error.to_string())
}

fn change(client: &Client, change: &Change) -> Result<Exit, Failure> {
    let by = By {
        actor: actor(),
        bot: None,
        chat: None,
    };
    let said = match client.store()?.people().change(change, &by, clock::stamp()) {
        Ok(said) => said,
        Err(Refusal::Store(error)) => return Err(error.into()),
        Err(refusal) => return Err(Failure::Refused(refusal.to_string())),
    };
    client.reload()?;
    output::note(&output::visible(&said));
    Ok(Exit::Done)
}

fn list_admins(client: &Client, is_json: bool) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let admins = match client.read_store()? {
        None => Vec::new(),
        Some(store) => store.people().admins()?,
    };
    let mut table = Table::new(&[
        Column::Word("user"),
        Column::Word("name"),
        Column::Number("since"),
        Column::Text("added by"),
    ]);
    for admin in admins {
        if is_json {
            output::record(&json!({
                "user": admin.user,
                "name": admin.name,
                "added_by": admin.added_by,
                "added_at": admin.added_at.to_string(),
            }))?;
            continue;
        }
        table.row([
            Cell::from(output::visible(&admin.user)),
            admin
                .name
                .map_or("-".to_owned(), |name| output::visible(&format!("@{name}")))
                .into(),
            show_age(now.since(admin.added_at)).into(),
            output::visible(&admin.added_by).into(),
        ]);
    }
    if !is_json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

fn list_permissions(client: &Client, is_json: bool) -> Result<Exit, Failure> {
    let permissions = match client.read_store()? {
        None => Vec::new(),
        Some(store) => store.people().permissions()?,
    };
    let fixed = ADMIN_COMMANDS.map(|command| (command.to_owned(), Level::Admin));
    let mut table = Table::new(&[Column::Word("command"), Column::Word("for"), Column::Text("because")]);
    let written = permissions.into_iter().map(|known| (known, "set"));
    for ((command, level), because) in written.chain(fixed.into_iter().map(|known| (known, "fixed"))) {
        if is_json {
            let (level, is_fixed) = (level.word(), because == "fixed");
            output::record(&json!({"command": command, "level": level, "fixed": is_fixed}))?;
            continue;
        }
        let whose = match level {
            Level::Admin => "admins only",
            Level::User => "everybody",
        };
        table.row([Cell::from(command), whose.to_owned().into(), because.to_owned().into()]);
    }
    if !is_json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}
