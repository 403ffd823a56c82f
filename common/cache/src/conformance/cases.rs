//! The cases. Each takes a fixture of its own.

use std::time::{Duration, Instant};

use futures::future::join_all;

use super::kit::{LONG, PATIENCE, entry, eventually, key, noise, text};
use super::{Damage, Fixture};
use crate::{Entry, Kept};

/// A fixture, owned by its case.
pub type Fix = Box<dyn Fixture>;

/// Read-your-write, with all facts and a time that is not longer than asked.
pub async fn what_is_kept_is_found_as_it_was(f: Fix) {
    let (tier, entry) = (f.tier(), entry("All invoices are paid."));
    assert_eq!(tier.put(&key(1), &entry, LONG).await, Kept::Yes);
    let hit = tier.get(&key(1)).await.expect("it was kept");
    assert_eq!(hit.entry, entry);
    assert!(hit.ttl_left <= LONG && hit.ttl_left > LONG / 2, "{:?}", hit.ttl_left);
    let stats = tier.stats();
    assert_eq!((stats.hits, stats.misses, stats.kept), (1, 0, 1));
    assert_eq!((stats.bytes_read, stats.bytes_written), (22, 22));
}

/// A miss is counted as one.
pub async fn what_was_never_kept_is_a_miss(f: Fix) {
    assert_eq!(f.tier().get(&key(1)).await, None);
    let stats = f.tier().stats();
    assert_eq!((stats.hits, stats.misses, stats.corrupt, stats.failed), (0, 1, 0, 0));
}

/// The end of a text is the end of that text only.
pub async fn a_text_ends_with_its_time(f: Fix) {
    let tier = f.tier();
    tier.put(&key(1), &entry("short"), Duration::from_millis(80)).await;
    tier.put(&key(2), &entry("long"), LONG).await;
    // A later write counts its own time.
    tier.put(&key(3), &entry("first"), Duration::from_millis(80)).await;
    tier.put(&key(3), &entry("second"), LONG).await;
    eventually("the text ends", async || tier.get(&key(1)).await.is_none()).await;
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(text(tier, &key(2)).await.as_deref(), Some(&b"long"[..]));
    assert_eq!(text(tier, &key(3)).await.as_deref(), Some(&b"second"[..]));
}

/// A time of zero also ends what was there before.
pub async fn no_time_means_not_kept(f: Fix) {
    let tier = f.tier();
    assert_eq!(tier.put(&key(1), &entry("a"), Duration::ZERO).await, Kept::Dropped);
    assert_eq!(tier.get(&key(1)).await, None);
    tier.put(&key(1), &entry("a"), LONG).await;
    tier.put(&key(1), &entry("b"), Duration::ZERO).await;
    assert_eq!(tier.get(&key(1)).await, None);
}

/// Overwriting.
pub async fn a_later_text_replaces_an_earlier_one(f: Fix) {
    let tier = f.tier();
    for body in ["first, and longer", "second", ""] {
        assert_eq!(tier.put(&key(1), &entry(body), LONG).await, Kept::Yes);
        assert_eq!(text(tier, &key(1)).await.as_deref(), Some(body.as_bytes()));
    }
}

/// Empty is not absent.
pub async fn an_empty_text_is_a_text(f: Fix) {
    assert_eq!(f.tier().put(&key(1), &Entry::default(), LONG).await, Kept::Yes);
    assert_eq!(f.tier().get(&key(1)).await.map(|hit| hit.entry), Some(Entry::default()));
}

/// The limit itself is allowed; what was there before stays when a larger text is refused.
pub async fn the_largest_text_is_kept_and_a_larger_one_refused(f: Fix) {
    let tier = f.tier();
    let largest = entry(noise(f.value_bytes_max()));
    assert_eq!(tier.put(&key(1), &largest, LONG).await, Kept::Yes);
    for huge in [noise(f.value_bytes_max() + 1), vec![0; 8 << 20]] {
        assert_eq!(tier.put(&key(1), &entry(huge.clone()), LONG).await, Kept::TooLarge);
        assert_eq!(tier.put(&key(2), &entry(huge), LONG).await, Kept::TooLarge);
    }
    assert_eq!(tier.get(&key(1)).await.map(|hit| hit.entry), Some(largest));
    assert_eq!(tier.get(&key(2)).await, None);
    assert_eq!(tier.stats().too_large, 4);
}

/// Each key has its own text.
pub async fn keys_do_not_see_each_other(f: Fix) {
    let tier = f.tier();
    for n in 0..50 {
        tier.put(&key(n), &entry(n.to_string()), LONG).await;
    }
    tier.remove(&key(7)).await;
    for n in 0..60 {
        let expected = (n < 50 && n != 7).then(|| n.to_string());
        assert_eq!(text(tier, &key(n)).await.as_deref(), expected.as_deref().map(str::as_bytes), "{n}");
    }
}

/// Removing what is not there is fine too.
pub async fn a_removed_text_is_gone(f: Fix) {
    let tier = f.tier();
    tier.put(&key(1), &entry("a"), LONG).await;
    assert!(tier.remove(&key(1)).await);
    assert!(tier.remove(&key(1)).await);
    assert_eq!(tier.get(&key(1)).await, None);
}

/// Compression is nobody's business.
pub async fn texts_that_shrink_and_texts_that_do_not_come_back(f: Fix) {
    let tier = f.tier();
    let prose = "The customer has paid within the agreed time. ".repeat(100);
    for (n, body) in (0..).zip([prose.into_bytes(), noise(5000), vec![b' '; 5000], noise(1)]) {
        let entry = entry(body);
        assert_eq!(tier.put(&key(n), &entry, LONG).await, Kept::Yes);
        assert_eq!(tier.get(&key(n)).await.map(|hit| hit.entry), Some(entry));
    }
}

/// Readers see one of the texts, whole, never a mixture; the last state is one of them.
pub async fn writers_at_once_leave_one_whole_text(f: Fix) {
    let tier = f.tier();
    let body = |writer: u8| vec![writer; 500 + usize::from(writer) * 300];
    tier.put(&key(1), &entry(body(0)), LONG).await;
    let is_whole = |found: &[u8]| found.first().is_some_and(|&writer| found == body(writer));
    join_all((0..8_u8).map(|writer| async move {
        for _ in 0..10 {
            tier.put(&key(1), &entry(body(writer)), LONG).await;
            if let Some(found) = text(tier, &key(1)).await {
                assert!(is_whole(&found), "a mixture of {} bytes", found.len());
            }
        }
    }))
    .await;
    let found = text(tier, &key(1)).await.expect("somebody wrote last");
    assert!(is_whole(&found));
    assert_eq!(tier.stats().corrupt, 0);
}

/// Whatever happened to the bytes.
pub async fn a_damaged_text_is_a_miss_and_can_be_kept_again(f: Fix) {
    let tier = f.tier();
    let damages = [Damage::Changed, Damage::Cut, Damage::Emptied, Damage::Replaced, Damage::Foreign];
    for (n, how) in (0..).zip(damages) {
        tier.put(&key(n), &entry("The total is as agreed."), LONG).await;
        if !f.damage(&key(n), how).await {
            return;
        }
        assert_eq!(tier.get(&key(n)).await, None, "{how:?}");
        assert_eq!(tier.put(&key(n), &entry("again"), LONG).await, Kept::Yes, "{how:?}");
        assert_eq!(text(tier, &key(n)).await.as_deref(), Some(&b"again"[..]), "{how:?}");
    }
    assert!(tier.stats().corrupt >= 4, "{:?}", tier.stats());
}

/// Down costs little, is counted, and ends by itself.
pub async fn a_tier_that_is_down_misses_quickly_and_heals(mut f: Fix) {
    f.tier().put(&key(1), &entry("a"), LONG).await;
    if !f.take_down().await {
        return;
    }
    let started = Instant::now();
    for n in 0..100 {
        assert_eq!(f.tier().get(&key(n)).await, None);
        assert_eq!(f.tier().put(&key(n), &entry("b"), LONG).await, Kept::Dropped);
    }
    assert!(started.elapsed() < PATIENCE, "200 calls took {:?}", started.elapsed());
    let stats = f.tier().stats();
    assert!(stats.dropped >= 100 && stats.failed >= 1 && stats.skipped >= 50, "{stats:?}");
    f.bring_up().await;
    let tier = f.tier();
    eventually("the tier heals", async || {
        tier.put(&key(2), &entry("c"), LONG).await == Kept::Yes && tier.get(&key(2)).await.is_some()
    })
    .await;
}
