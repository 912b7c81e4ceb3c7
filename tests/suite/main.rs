//! The binary from outside, one file for each area. `harness` gives every test a home of its own.

#[cfg(test)]
mod adopt;
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod apply;
#[cfg(test)]
mod blocklist;
#[cfg(test)]
mod check;
#[cfg(test)]
mod config;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod create;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod doubles;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod history;
#[cfg(test)]
mod home;
#[cfg(test)]
mod import;
#[cfg(test)]
mod init;
#[cfg(test)]
mod judged;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod live;
#[cfg(test)]
mod login;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod loopback;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod output;
#[cfg(test)]
mod people;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod shim;
#[cfg(test)]
mod spool;
#[cfg(test)]
mod supervise;
#[cfg(test)]
mod telegram;
#[cfg(test)]
mod up;
#[cfg(test)]
#[cfg(debug_assertions)]
mod upgrade;
#[cfg(test)]
mod whatsapp;
