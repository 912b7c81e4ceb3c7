//! `multibot credentials import|export|sync`: one JSON file and the store are made alike.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cli::args::{CredentialsFileArgs, Preferred};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::credential::file::{CredentialsFile, Direction, Exchange, Side, exchange};
use crate::model::credential::{Field, Owner};
use crate::output;
use crate::store;

use super::{note_in_audit, store_field, tell};

/// Thousands of bots with several fields each.
const FILE_BYTES_MAX: u64 = 16 << 20;

pub(super) fn run(client: &Client, args: &CredentialsFileArgs, direction: Direction) -> Result<Exit, Failure> {
    let prefer = args.prefer.map(|side| match side {
        Preferred::File => Side::File,
        Preferred::Store => Side::Store,
    });
    // One at a time: what was read of the file is still so when it is replaced.
    let plan = client.store()?.transaction(|store| {
        let file = read(&args.file, direction)?;
        let known = store.credentials().fields()?;
        let plan = exchange(&known, file.fields(), direction, prefer);
        refuse_unknown(store, &args.file, &plan)?;
        if args.dry_run {
            return Ok::<_, Failure>(plan);
        }
        for field in &plan.to_store {
            take_over(client, store, &args.file, field)?;
        }
        if !plan.to_file.is_empty() {
            write(&args.file, &file.with(&plan.to_file))?;
            let shown = format!("{} to {}", names(&plan.to_file), args.file.display());
            client.audit(store, "credentials export", None, &shown)?;
        }
        Ok(plan)
    })?;
    say(client, args, &plan)
}

fn take_over(client: &Client, store: &store::Store, path: &Path, field: &Field) -> Result<(), Failure> {
    store_field(client, store, field).map_err(|failure| match failure {
        Failure::Store(error @ store::Error::TokenTaken { .. }) => {
            let (owner, shown) = (&field.owner, path.display());
            Failure::Refused(format!("{shown}: token of {owner}: {error}; nothing was changed"))
        }
        other => other,
    })?;
    let detail = format!("{} from {}", field.name, path.display());
    note_in_audit(client, store, "credentials import", &field.owner, &detail)
}

/// Fields of bots that there are not would be kept for nobody.
fn refuse_unknown(store: &store::Store, path: &Path, plan: &Exchange) -> Result<(), Failure> {
    for field in &plan.to_store {
        if let Owner::Bot(id) = &field.owner {
            store.bots().get(id).map_err(|error| {
                let shown = path.display();
                Failure::Refused(format!("{shown}: bots.{id}: {error}; nothing was changed"))
            })?;
        }
    }
    Ok(())
}

fn say(client: &Client, args: &CredentialsFileArgs, plan: &Exchange) -> Result<Exit, Failure> {
    let shown = args.file.display();
    for (owner, name) in &plan.conflicts {
        output::error(&format!(
            "conflict: {name} of {owner} was changed in {shown} and in the store at the same time; left as it is, \
             decide with --prefer file or --prefer store"
        ));
    }
    let would = if args.dry_run { "would be " } else { "" };
    for (fields, place) in [
        (&plan.to_store, "taken into the store"),
        (&plan.to_file, "written into the file"),
    ] {
        if !fields.is_empty() {
            output::note(&format!("{would}{place}: {}", names(fields)));
        }
    }
    let is_unchanged = plan.to_store.is_empty() && plan.to_file.is_empty();
    let exit = match (plan.conflicts.is_empty(), args.dry_run && !is_unchanged) {
        (false, _) => Exit::Failed,
        (true, true) => Exit::WouldChange,
        (true, false) => Exit::Done,
    };
    if args.dry_run {
        return Ok(exit);
    }
    if plan.to_store.is_empty() {
        let done = if is_unchanged { "nothing to do" } else { "done" };
        output::note(&format!("{shown}: {done}"));
        return Ok(exit);
    }
    tell(client, &format!("{shown}: done"))?;
    Ok(exit)
}

/// `token of shop, app_secret of shared`.
fn names(fields: &[Field]) -> String {
    let name = |field: &Field| format!("{} of {}", field.name, field.owner);
    fields.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Reads a file that nobody else can read. One that is to be written may be missing.
fn read(path: &Path, direction: Direction) -> Result<CredentialsFile, Failure> {
    let shown = path.display();
    let refuse = |why: String| Failure::Refused(format!("{shown}: {why}"));
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let opened = File::options().read(true).custom_flags(flags.cast_signed()).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && direction != Direction::Import => {
            return Ok(CredentialsFile::default());
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(refuse("it is a link: name the file itself".to_owned()));
        }
        Err(source) => return Err(Failure::io(format!("cannot read {shown}"))(source)),
    };
    let meta = file.metadata().map_err(Failure::io(format!("cannot read {shown}")))?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(refuse("it is no ordinary file with one name".to_owned()));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(refuse(format!(
            "others may read it, and it holds secrets: chmod 600 {shown}"
        )));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(refuse("it is longer than 16 MiB".to_owned()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(Failure::io(format!("cannot read {shown}")))?;
    CredentialsFile::parse(&text, clock::stamp()).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("{shown}: {fault}")).collect();
        Failure::Refused(lines.join("\n"))
    })
}

/// Replaces the file in one step: a reader sees the old or the new one, also after a power cut.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |source| Failure::io(format!("cannot write {}", path.display()))(source);
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let draft = folder.join(name);
    let replaced = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&folder)?.sync_all()
    })();
    if replaced.is_err() {
        // What is left of it holds secrets.
        let _ = fs::remove_file(&draft);
    }
    replaced.map_err(failed)
}
