//! The `ripple` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    match ripple_host_sim::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ripple_host_sim::output::note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
