//! The binary: everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    session_worker::cli::main()
}
