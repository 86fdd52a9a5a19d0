//! The program: parses its arguments, runs the command, and returns the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use portbook::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse_args().run().await {
        Ok(status) => status.into(),
        Err(error) => {
            // If stderr is closed, the error cannot be reported.
            let _ = writeln!(io::stderr(), "portbook: {}", error.report());
            error.exit_code()
        }
    }
}
