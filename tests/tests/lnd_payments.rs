//! The scenarios on real lnd. One network serves them in turn: it takes seconds to come up.

use std::time::Instant;

use anyhow::{Result, ensure};
use fulgurite_tests::{
    macaroons,
    regtest::{Link, Options, pay_naively},
    scenarios::{self, passed},
    scenarios_late as late, scenarios_meaning as meaning, scenarios_network as network,
    scenarios_nodes as nodes, scenarios_witness as witness,
    world::{Receiver, World},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_over_real_lnd_end_as_the_receivers_books_say() -> Result<()> {
    let started = Instant::now();
    let world = World::real(&Options::default()).await?;
    println!("network ready in {:.1} s", started.elapsed().as_secs_f64());
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);

    let started = Instant::now();
    scenarios::a_batch_is_paid(&world, &at("plain"), (200, 100), 0).await?;
    passed("a_batch_of_300_is_paid", started);

    let started = Instant::now();
    scenarios::a_batch_is_paid(&world, &at("kills"), (200, 100), 2).await?;
    passed("a_batch_of_300_with_two_engine_kills", started);

    let started = Instant::now();
    scenarios::held_payments_outlive_the_engine(&world, &at("held")).await?;
    passed("held_payments_outlive_the_engine", started);

    let started = Instant::now();
    scenarios::a_paid_invoice_that_expired_is_never_unpaid(&world, &at("expired")).await?;
    passed("a_paid_invoice_that_expired_is_never_unpaid", started);

    let started = Instant::now();
    let large = scenarios::an_invoice_larger_than_any_channel_fails_with_a_reason;
    large(&world, &at("large")).await?;
    passed("an_invoice_larger_than_any_channel_fails_with_a_reason", started);

    let started = Instant::now();
    scenarios::a_stop_is_graceful_and_logs_hold_no_secret(&world, &at("stop")).await?;
    passed("a_stop_is_graceful_and_logs_hold_no_secret", started);

    let started = Instant::now();
    witness::an_old_copy_refuses_to_start(&world, &at("copy")).await?;
    passed("an_old_copy_refuses_to_start", started);

    let started = Instant::now();
    witness::what_others_paid_is_claimed(&world, &at("others")).await?;
    passed("what_others_paid_is_claimed", started);

    let started = Instant::now();
    witness::a_second_engine_is_refused_or_cuts_the_first_off(&world, &at("second")).await?;
    passed("a_second_engine_is_refused_or_cuts_the_first_off", started);

    let started = Instant::now();
    witness::of_two_engines_started_together_one_goes_on_at_most(&world, &at("both")).await?;
    passed("of_two_engines_started_together_one_goes_on_at_most", started);

    // The last one: what it leaves behind in lnd's books stays there.
    let started = Instant::now();
    let stuck = scenarios::a_batch_outlives_its_node(&world, &at("node"), (200, 100)).await?;
    println!("{stuck} of 300 are in flight in lnd's books with no HTLC on any channel");
    passed("a_batch_of_300_outlives_its_node", started);
    Ok(())
}

/// Nodes that are drained, join, leave and are not what they were, on a network of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_nodes_are_drained_changed_and_not_believed() -> Result<()> {
    let world = World::real(&Options::default()).await?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);

    let started = Instant::now();
    nodes::a_drained_node_gets_nothing_new_and_what_it_has_ends(&world, &at("drain")).await?;
    passed("a_drained_node_gets_nothing_new_and_what_it_has_ends", started);

    let started = Instant::now();
    nodes::nodes_join_and_leave_without_loss(&world, &at("fleet")).await?;
    passed("nodes_join_and_leave_without_loss", started);

    let started = Instant::now();
    nodes::another_node_under_the_same_name_is_not_believed(&world, &at("other")).await?;
    passed("another_node_under_the_same_name_is_not_believed", started);

    // The last one: its channels cannot be used afterwards.
    let started = Instant::now();
    nodes::a_node_restored_from_its_own_backup_is_quarantined(&world, &at("restored")).await?;
    passed("a_node_restored_from_its_own_backup_is_quarantined", started);
    Ok(())
}

/// What lnd itself does, without the engine: the facts that the adapter and the rules rest on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_lnd_answers_as_the_rules_assume() -> Result<()> {
    let world = World::real(&Options::default()).await?;

    let started = Instant::now();
    late::a_held_request_pays_a_failed_hash_unless_its_macaroon_expired(&world).await?;
    passed("a_held_request_pays_a_failed_hash_unless_its_macaroon_expired", started);

    let started = Instant::now();
    late::held_data_without_a_deadline_pays_after_its_macaroon_expired(&world).await?;
    passed("held_data_without_a_deadline_pays_after_its_macaroon_expired", started);

    let started = Instant::now();
    late::held_data_is_ignored_after_its_deadline(&world).await?;
    passed("held_data_is_ignored_after_its_deadline", started);

    let started = Instant::now();
    meaning::every_answer_has_its_meaning(&world).await?;
    passed("every_answer_has_its_meaning", started);

    let (folder, started) = (tempfile::tempdir()?, Instant::now());
    network::a_batch_outlives_its_network(&world, folder.path(), (200, 100)).await?;
    passed("a_batch_outlives_its_network", started);

    let World::Real(network) = &world else { unreachable!("it was started as real") };
    let started = Instant::now();
    macaroons::our_caveat_is_lnclis(network).await?;
    passed("our_caveat_is_lnclis", started);

    let started = Instant::now();
    macaroons::lnd_takes_our_caveat_until_its_time(network, &world.payer()).await?;
    passed("lnd_takes_our_caveat_until_its_time", started);
    Ok(())
}

/// One channel between two nodes: 483 HTLCs at most, and a client that offers more loses most of
/// its payments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_payments_through_one_channel_all_succeed() -> Result<()> {
    let link = |from: &str, to: &str| Link {
        from: from.to_owned(),
        to: to.to_owned(),
        channels: 1,
        capacity_sat: 16_000_000,
        push_sat: 0,
    };
    let options =
        Options { links: vec![link("alice", "bob"), link("bob", "carol")], ..Options::default() };
    let world = World::real(&options).await?;
    let folder = tempfile::tempdir()?;
    let ours = scenarios::all_succeed(&world, folder.path(), 1_000).await?;
    let World::Real(network) = &world else { unreachable!("it was started as real") };
    let near = world.receiver(Receiver::Near).await?;
    let mut best = 0.0_f64;
    for at_once in [100, 200] {
        let invoices = near.invoices(500, 1_000_000).await?;
        let naive = pay_naively(network.alice(), &invoices, at_once).await;
        println!(
            "naive client, {at_once} at once: {} of 500 at {:.0}/s",
            naive.succeeded,
            naive.rate()
        );
        best = best.max(naive.rate());
    }
    let invoices = near.invoices(1_000, 1_000_000).await?;
    let flood = pay_naively(network.alice(), &invoices, 450).await;
    println!("naive client, 450 at once: {} of 1000 succeed", flood.succeeded);
    println!("fulgurite: 1000 of 1000 at {ours:.0}/s, {:.2} of the naive best", ours / best);
    ensure!(flood.succeeded < 1_000, "the naive client lost nothing: is the channel larger?");
    Ok(())
}
