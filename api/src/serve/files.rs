//! Open files: each connection is one, and the journal needs its own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Limits;

/// Each door gets at most this share of the files; the other half is the journal's and the nodes'.
const SHARE_OF_A_DOOR: u64 = 4;

/// Raises the limit of open files to what the system allows this process, and returns it. Shells
/// start programs with 1,024, which one client could use up.
pub(super) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // None is no limit.
    now.unwrap_or(u64::MAX)
}

/// The limits of the doors, with no more connections than there are files for.
pub(super) fn within(mut limits: Limits, files: u64) -> Limits {
    let most = u32::try_from(files / SHARE_OF_A_DOOR).unwrap_or(u32::MAX).max(1);
    let asked = limits.http_connections_max.max(limits.grpc_connections_max);
    if asked > most {
        tracing::warn!(
            reason = format!("{files} files may be open, a quarter of them at each door"),
            "fewer connections are taken than the configuration says"
        );
    }
    limits.http_connections_max = limits.http_connections_max.min(most);
    limits.grpc_connections_max = limits.grpc_connections_max.min(most);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doors_leave_half_of_the_files_to_the_journal() {
        let plenty = within(Limits::default(), 1 << 20);
        assert_eq!(plenty, Limits::default());
        let few = within(Limits::default(), 1_024);
        assert_eq!((few.http_connections_max, few.grpc_connections_max), (256, 256));
        assert_eq!(within(Limits::default(), u64::MAX), Limits::default());
    }
}
