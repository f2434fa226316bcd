//! The command as a user has it, and the tables and pages that it writes.

#[cfg(unix)]
#[path = "../../../tests/tests/host/import_common.rs"]
mod import_common;

mod bench;
mod bench_output;
mod card;
mod commands;
mod dense;
mod derive;
mod device;
mod gguf;
mod json;
mod layout;
mod make;
#[cfg(unix)]
mod outputs;
mod place;
mod plan;
mod quality;
mod refused;
mod report;
mod run;
mod sign;
#[cfg(target_os = "linux")]
mod terminal;
mod trace;
mod tune;
#[cfg(unix)]
mod wrong_uses;
