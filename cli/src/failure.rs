//! How a failure looks to the user.

use std::panic;
use std::process::ExitCode;

use crate::source::BadSweep;

/// The status of what a signal ends for whom nobody reads any more, such as `gauntlet attacks | head`: 128 and SIGPIPE.
const NOBODY_READS: i32 = 128 + 13;

/// Leaves without a word where whoever read the answer has gone. The standard library's `println!` panics there.
///
/// The signal itself stays ignored: a local run must not die of an executor that closed its end of a pipe.
pub fn leave_quietly_when_nobody_reads() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            std::process::exit(NOBODY_READS);
        }
        usual(panic);
    }));
}

/// Prints an error and gives the exit code that goes with it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(bad) = error.downcast_ref::<BadSweep>() {
        eprint!("{}", bad.rendered());
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::FAILURE
}
