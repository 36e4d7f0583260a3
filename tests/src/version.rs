//! What `--version` of the programs beside the engine prints.

/// The version and the commit of the build, as `fulgurite --version` has them. `commit` is what
/// `scripts/env` gave the compiler.
///
/// It lives as long as the process: clap wants it so.
pub fn version(commit: Option<&str>) -> &'static str {
    format!("{} (commit {})", env!("CARGO_PKG_VERSION"), commit_name(commit)).leak()
}

/// `unknown` for one that was built outside of git.
fn commit_name(commit: Option<&str>) -> &str {
    commit.filter(|commit| !commit.is_empty()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_commit_says_so() {
        for (commit, end) in [(Some("abc+"), "(commit abc+)"), (Some(""), "(commit unknown)")] {
            assert!(version(commit).ends_with(end), "{commit:?}");
        }
        assert!(version(None).ends_with("(commit unknown)"));
    }
}
