//! What commands print: tables for people, JSON for programs, both to standard output.

use std::io::{ErrorKind, Write};

use super::failure::Failure;

/// Writes `bytes` to standard output. A reader that has gone away (`| head`) is no failure.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::operation(
            format!("cannot write the output: {error}"),
            "send it somewhere writable",
        )),
        _ => Ok(()),
    }
}
