//! multibot as a library: what benches, tests and fuzz targets reach. The program is `main.rs`.
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod home;
pub mod init;
pub mod log;
pub mod model;
pub mod monitor;
pub mod output;
pub mod run;
pub mod runner;
pub mod shim;
pub mod spool;
pub mod store;
pub mod supervisor;
pub mod trace;
