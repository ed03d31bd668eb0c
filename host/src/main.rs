//! The program `wasmill`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wasmill::allocator::set_up();
    wasmill::cli::main()
}
