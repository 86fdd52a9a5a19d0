//! The program: parses its arguments, runs the command, and says how it ended.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use portbook::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(end) => end.into(),
        Err(error) => {
            // With stderr gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "portbook: {}", error.report());
            error.exit_code()
        }
    }
}
