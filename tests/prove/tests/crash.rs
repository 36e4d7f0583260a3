//! A slice of the crash proof; `fulgurite-prove crash` runs as many cycles as you like.

use fulgurite_prove::crash;

#[test]
fn kills_of_engine_and_nodes_lose_nothing_and_pay_nothing_twice() {
    // One kill at each point, and as many at random times.
    let page = crash::run(&crash::Args { cycles: 32, seed: 1, lnd: false }).unwrap();
    assert!(page.is_clean(), "{}", page.text());
    assert!(page.count("payments", "succeeded") > 0, "{}", page.text());
    assert!(page.count("result", "payments in flight at kills") > 0, "{}", page.text());
    println!("{}", page.text());
}
