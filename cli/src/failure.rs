//! How a failure looks to the user.

use std::process::ExitCode;

use crate::source::BadSweep;

/// Prints an error and gives the exit code that goes with it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(bad) = error.downcast_ref::<BadSweep>() {
        eprint!("{}", bad.rendered());
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::FAILURE
}
