//! The program `wasmill`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wasmill::cli::main()
}
