//! The arguments of `multibot admin` and `multibot permission`.

use clap::{Args, Subcommand};

use crate::cli::examples;

#[derive(Clone, Debug, Subcommand)]
pub enum AdminVerb {
    /// List the admins
    #[command(after_long_help = examples::text("admin list"))]
    List(PeopleList),

    /// Make somebody an admin of all bots
    #[command(after_long_help = examples::text("admin add"))]
    Add(AdminUser),

    /// Take that away again
    #[command(after_long_help = examples::text("admin remove"))]
    Remove(AdminUser),
}

#[derive(Clone, Debug, Subcommand)]
pub enum PermissionVerb {
    /// List the commands whose permission differs from their default
    #[command(after_long_help = examples::text("permission list"))]
    List(PeopleList),

    /// Say who may use a command, in all bots
    #[command(after_long_help = examples::text("permission set"))]
    Set(PermissionSet),

    /// Give a command its default back
    #[command(after_long_help = examples::text("permission remove"))]
    Remove(PermissionCommand),
}

#[derive(Clone, Debug, Args)]
pub struct PeopleList {
    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct AdminUser {
    /// The number that the platform gives the user, or @name of somebody who has written to a bot
    pub user: String,
}

#[derive(Clone, Debug, Args)]
pub struct PermissionSet {
    /// Name of a chat command, without its prefix
    pub command: String,

    /// Who may use it
    #[arg(value_parser = ["admin", "user"])]
    pub level: String,
}

#[derive(Clone, Debug, Args)]
pub struct PermissionCommand {
    /// Name of a chat command, without its prefix
    pub command: String,
}
