//! `bul completions`: scripts for shells, from the command tree itself.

use clap_complete::Shell;

use crate::context::write_stdout;
use crate::exit::Exit;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bul completions bash > ~/.local/share/bash-completion/completions/bul")]
pub struct Args {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "bul", &mut script);
    write_stdout(&script)?;
    Ok(Exit::Done)
}
