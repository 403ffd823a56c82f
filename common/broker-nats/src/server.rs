//! What is known of the server's release: how long an acked message may be unsynced, and which releases
//! have lost messages. The server tells its version and nothing of this, so that it stands here.

/// A release as `major.minor.patch`.
pub(crate) type Release = (u64, u64, u64);

/// The oldest release that this adapter is tested with.
const OLDEST_TESTED: Release = (2, 9, 10);

/// Releases known to lose messages of work queues, from and to, both included.
const LOSSY: [(Release, Release, &str); 3] = [
    (
        (2, 10, 17),
        (2, 10, 18),
        "consumers skip messages (nats-server issue 5705); update to 2.10.19 or newer",
    ),
    (
        (2, 10, 20),
        (2, 10, 22),
        "a cluster whose processes are killed can forget a whole stream (nats-server issue 6888); update to 2.10.23 or newer",
    ),
    (
        (2, 12, 1),
        (2, 12, 1),
        "a cluster that changes its members while nodes are killed can lose acked messages (nats-server issue 7545)",
    ),
];

/// Reads `2.9.10` or `2.12.0-RC.3`.
pub(crate) fn release(version: &str) -> Option<Release> {
    let core = version.trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// How long an acked message may be lost to a power cut.
pub(crate) fn durability(version: &str) -> String {
    let interval = match release(version) {
        Some(release) if release < (2, 10, 0) => "every 60 s, which this release cannot change",
        _ => "every 2 min unless its configuration says `sync_interval`, which a client cannot read",
    };
    format!(
        "a confirmed message is in the server's files and outlives its process; it is synced to disk {interval}: what \
         was confirmed since is lost by a power cut or a crash of the operating system, and published again from the store"
    )
}

/// What an operator should know of this release.
pub(crate) fn notes(version: &str) -> Vec<String> {
    let Some(this) = release(version) else {
        return vec![format!("the server's version {version:?} is unknown to this program")];
    };
    let mut notes = Vec::new();
    if this < OLDEST_TESTED {
        notes.push(format!(
            "nats-server {version} is older than 2.9.10, the oldest release this program is tested with"
        ));
    }
    let lossy = LOSSY.iter().filter(|(from, to, _)| (*from..=*to).contains(&this));
    notes.extend(lossy.map(|(_, _, why)| format!("nats-server {version} is known to lose messages: {why}")));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_known_to_lose_messages_are_named() {
        for (version, expected) in [
            ("2.9.10", ""),
            ("2.10.16", ""),
            ("2.10.18", "5705"),
            ("2.10.19", ""),
            ("2.10.20", "6888"),
            ("2.10.23", ""),
            ("v2.12.1", "7545"),
            ("2.14.5", ""),
            ("2.8.4", "older than"),
            ("next", "unknown"),
        ] {
            let notes = notes(version).join("\n");
            assert!(
                notes.contains(expected) && notes.is_empty() == expected.is_empty(),
                "{version}: {notes}"
            );
        }
    }

    #[test]
    fn durability_depends_on_the_release() {
        assert!(durability("2.9.10").contains("60 s"));
        assert!(durability("2.10.0").contains("sync_interval"));
        assert_eq!(release("2.12.0-RC.3"), Some((2, 12, 0)));
    }
}
