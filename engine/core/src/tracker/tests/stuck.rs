//! Tables: payments that are in flight with no HTLC anywhere (rule E15).

use super::{
    super::{FirstHop, may_live},
    scene::{check, play, tracker},
};
use crate::{
    amount::Msat,
    port::ChannelInfo,
    testing::{NOW, hash},
};

const WATCHED: [(&str, &str); 3] =
    [("start", "send 1"), ("send 1 lost", "track 2"), ("track 2 in flight by 7", "-")];

#[test]
#[rustfmt::skip] // A table: one line is one input and what must come of it.
fn two_looks_and_the_nodes_word_between_them_find_it_stuck() {
    let found = [
        ("look 1 nothing",         "track 3"),
        // The node has not said again that it is in flight.
        ("later 20",               "-"),
        ("look 2 nothing",         "-"),
        ("track 3 in flight by 7", "-"),
        ("look 3 nothing",         "Stuck"),
        ("look 4 nothing",         "-"),
    ];
    for ending in [
        &[("track 3 paid", "Settled")][..],
        &[("track 3 failed", "fence 1"), ("fence 1", "track 4"), ("track 4 failed", "Failed(NoRoute)")],
        // A restarted node: it is asked again and still not sent again.
        &[("track 3 unreachable", "-"), ("later 2", "track 4"), ("track 4 not found", "Contradicted(Forgotten)")],
    ] {
        check(&[&WATCHED[..], &found, ending].concat());
    }
}

#[test]
#[rustfmt::skip]
fn a_look_that_proves_nothing_starts_the_count_anew() {
    // Too soon after the first.
    check(&[&WATCHED[..], &[
        ("look 1 nothing",         "track 3"),
        ("track 3 in flight by 7", "-"),
        ("later 9",                "-"),
        ("look 2 nothing",         "-"),
        ("later 1",                "-"),
        ("look 3 nothing",         "Stuck"),
    ]].concat());
    // A channel that may have it.
    check(&[&WATCHED[..], &[
        ("look 1 nothing",         "track 3"),
        ("track 3 in flight by 7", "-"),
        ("look 2 alive",           "-"),
        ("later 20",               "-"),
        ("look 3 nothing",         "track 4"),
    ]].concat());
    // An HTLC by another channel.
    check(&[&WATCHED[..], &[
        ("look 1 nothing",         "track 3"),
        ("later 20",               "-"),
        ("track 3 in flight",      "-"),
        ("look 2 nothing",         "track 4"),
    ]].concat());
    // Silence asks again; the answer is a word like any other.
    check(&[&WATCHED[..], &[
        ("look 1 nothing",         "track 3"),
        ("track 3 in flight by 7", "-"),
        ("later 60",               "-"),
        ("silence 60",             "track 4"),
        ("look 2 nothing",         "-"),
        ("track 4 in flight by 7", "-"),
        ("look 3 nothing",         "Stuck"),
    ]].concat());
    // Whose stream is open is not looked for.
    check(&[("start", "send 1"), ("send 1 in flight", "-"), ("look 1 nothing", "-")]);
}

#[test]
fn what_was_found_stuck_before_a_restart_is_watched() {
    let stuck = tracker().resumed(NOW).stuck();
    play(
        stuck,
        &[
            ("tick", "track 1"),
            ("track 1 in flight by 7", "-"),
            ("look 1 nothing", "-"),
            ("track 1 paid", "Settled"),
        ],
    );
}

#[test]
fn only_an_open_active_channel_or_one_that_is_resolved_says_that_no_htlc_lives() {
    let channel = |active, hashes: &[_]| ChannelInfo {
        short_channel_id: 7,
        remote_pubkey: "02".into(),
        active,
        capacity: Msat::MAX,
        local_balance: Msat::MAX,
        reserve: Msat::ZERO,
        commit_fee: Msat::ZERO,
        max_accepted_htlcs: 483,
        max_in_flight: Msat::MAX,
        dust_limit: Msat::ZERO,
        outgoing: hashes.into(),
    };
    let empty = channel(true, &[]);
    let (other, ours) = (channel(true, &[hash(2)]), channel(true, &[hash(2), hash(1)]));
    let away = channel(false, &[]);
    let cases = [
        (FirstHop::Open(&other), false),
        (FirstHop::Open(&ours), true),
        // Its peer is away: the HTLC may be on the peer's commitment alone.
        (FirstHop::Open(&away), true),
        // Not listed: it may be closing, and resolves on chain.
        (None.into(), true),
        // The chain is done with it.
        (FirstHop::Resolved, false),
    ];
    for (hop, alive) in cases {
        let find = |id| if id == 7 { hop } else { FirstHop::Open(&empty) };
        assert_eq!(may_live(hash(1), &[7], find), alive, "{hop:?}");
        assert_eq!(may_live(hash(1), &[8, 7], find), alive, "{hop:?}");
        assert!(!may_live(hash(1), &[], find), "no HTLC at all");
    }
}
