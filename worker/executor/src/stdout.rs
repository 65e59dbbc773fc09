//! The protocol's end of stdout.

use std::fs::File;
use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio;

/// Takes the original stdout for the protocol, and points file descriptor 1 at stderr, so that nothing a library prints can get between two messages.
pub(crate) fn claim() -> io::Result<File> {
    let original = fcntl_dupfd_cloexec(stdio::stdout(), 3)?;
    stdio::dup2_stdout(stdio::stderr())?;
    Ok(File::from(original))
}
