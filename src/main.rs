//! The binary: everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The first use of Avro would fix a limit of 512 MiB.
    session_worker::wire::limit_allocation();
    session_worker::cli::main()
}
