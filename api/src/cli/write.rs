//! `completions` and `man`: what shells and `man` need to know of this command line.

use std::{io::Write, path::Path};

use clap::Command;
use clap_complete::Shell;

use super::{
    exit::{Exit, Fault},
    say,
};

/// What `--help` says about the scripts.
pub const COMPLETIONS_HELP: &str = "\
bash  fulgurite completions bash > ~/.local/share/bash-completion/completions/fulgurite
zsh   fulgurite completions zsh > DIR/_fulgurite, with DIR in $fpath
fish  fulgurite completions fish > ~/.config/fish/completions/fulgurite.fish";

/// What `--help` says about the pages.
pub const MAN_HELP: &str = "\
fulgurite man ~/.local/share/man/man1
man fulgurite-batch-submit";

/// Prints the script for `shell`.
///
/// # Errors
/// [`Fault::Failed`] when standard output takes nothing more.
pub fn completions(mut command: Command, shell: Shell) -> Result<Exit, Fault> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let written = std::io::stdout().write_all(&script);
    written.map_err(|error| Fault::Failed(format!("standard output: {error}")))?;
    Ok(Exit::SUCCESS)
}

/// Writes the pages to `dir`, which is made if it is not there.
///
/// # Errors
/// [`Fault::Failed`] with the folder.
pub fn man(command: Command, dir: &Path) -> Result<Exit, Fault> {
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    written.map_err(|error| Fault::Failed(format!("{}: {error}", dir.display())))?;
    say(&format!("manual pages: {}", dir.display()));
    Ok(Exit::SUCCESS)
}
