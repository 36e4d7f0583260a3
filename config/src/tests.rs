//! The manual equals the code, and what is wrong is named with its place.

use super::*;

fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, "my.toml") {
        Ok(_) => Vec::new(),
        Err(fault) => fault.to_string().lines().map(str::to_owned).collect(),
    }
}

/// Every key of a table, with its sections.
fn keys(table: &toml::Table, prefix: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => all.extend(keys(inner, &format!("{prefix}{key}."))),
            _ => all.push(format!("{prefix}{key}")),
        }
    }
    all.sort();
    all
}

#[test]
fn default_toml_says_what_the_code_does() {
    let parsed = Config::parse(DEFAULT_TOML, "default.toml").expect("it is complete");
    assert_eq!(parsed, Config::default());
}

#[test]
fn default_toml_lists_every_key_with_a_comment() {
    let config = Config { nodes: vec![Node::default()], ..Config::default() };
    let mut table = toml::Table::try_from(&config).expect("a table");
    let Some(toml::Value::Array(nodes)) = table.remove("node") else { panic!("no nodes") };
    let mut expected = keys(&table, "");
    expected.extend(keys(nodes[0].as_table().expect("a table"), "node."));
    expected.sort();
    let mut listed: Vec<String> = manual().into_iter().map(|entry| entry.key).collect();
    listed.sort();
    assert_eq!(listed, expected);
    for entry in manual() {
        assert!(!entry.comment.is_empty(), "{} has no comment", entry.key);
    }
}

#[test]
fn the_example_of_a_node_can_be_used() {
    let example = DEFAULT_TOML.lines().filter_map(|line| line.strip_prefix("#|"));
    let text: Vec<&str> = example.map(str::trim).collect();
    let config = Config::parse(&text.join("\n"), "example").expect("it can be used");
    let required = Node {
        name: "first".into(),
        address: "127.0.0.1:10009".into(),
        tls_cert_path: "first/tls.cert".into(),
        macaroon_path: "first/payments.macaroon".into(),
        ..Node::default()
    };
    assert_eq!(config.nodes, [required]);
}

#[test]
#[rustfmt::skip] // A table: one line is one file and what is said of it.
fn what_is_wrong_is_named_with_file_line_and_key() {
    for (text, said) in [
        ("[engine]\ndata = 3\n",
         "my.toml: line 2: engine.data: unknown field `data`, expected `network` or `data_dir`"),
        ("\n[engin]\n",
         "my.toml: line 2: engin: unknown field `engin`, expected one of `engine`, `journal`, "),
        ("[check]\nexpiry_margin_s = 86401\n",
         "my.toml: line 2: check.expiry_margin_s: 86401 is not allowed: 0 to 86400"),
        ("[check]\nexpiry_margin_s = \"two\"\n",
         "my.toml: line 2: check.expiry_margin_s: invalid type: string \"two\", expected u32"),
        ("[engine]\nnetwork = \"main\"\n",
         "my.toml: line 2: engine.network: unknown variant `main`, expected one of `mainnet`, `testnet`, `signet`, `regtest`"),
        ("[grpc]\nlisten = \"localhost\"\n",
         "my.toml: line 2: grpc.listen: invalid socket address syntax"),
        ("[grpc]\nlisten = \"0.0.0.0:50051\"\n",
         "my.toml: line 2: grpc.listen: 0.0.0.0:50051 can be reached by other machines"),
        ("[http]\n\nlisten = \"127.0.0.1:50051\"\n",
         "my.toml: line 3: http.listen: 127.0.0.1:50051 is taken by grpc.listen"),
        ("[batch.fee_policy]\nproportional_ppm = 1_000_001\n",
         "my.toml: line 2: batch.fee_policy.proportional_ppm: 1000001 is not allowed: 0 to 1000000"),
        ("[retry]\nbackoff_ms_first = 500\nbackoff_ms_max = 400\n",
         "my.toml: line 3: retry.backoff_ms_max: 400 is not allowed: 500 to 3600000"),
        ("[witness]\nmargin_s = 69\n",
         "my.toml: line 2: witness.margin_s: 69 is not allowed: 70 to 31536000"),
        ("# nodes\n[[node]]\naddress = \"a:1\"\ntls_cert_path = \"t\"\nmacaroon_path = \"m\"\n",
         "my.toml: line 2: node[0].name: `` is not allowed: 1 to 32 of a-z0-9_-"),
        ("[[node]]\nname = \"n\"\naddress = \"https://a:1\"\ntls_cert_path = \"t\"\nmacaroon_path = \"m\"\n",
         "my.toml: line 3: node[0].address: `https://a:1` is not allowed: host:port"),
        ("[engine\n",
         "my.toml: line 1: "),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|line| line.starts_with(said)), "{text}: {found:#?}");
    }
}

#[test]
fn all_values_out_of_range_are_named_at_once() {
    let text = "[grpc]\nkeepalive_s = 0\n[check]\nfee_limit_percent_max = 101\n";
    assert_eq!(problems(text).len(), 2);
}

#[test]
fn an_open_address_is_allowed_when_the_operator_says_so() {
    let text = "[access]\nallow_unauthenticated_network = true\n[grpc]\nlisten = \"0.0.0.0:1\"\n";
    assert_eq!(problems(text), [""; 0]);
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let mut config = Config::default();
    config.anchor(Path::new("/etc/fulgurite"));
    assert_eq!(config.engine.data_dir, Path::new("/etc/fulgurite/data"));
}

#[test]
fn sections_that_differ_are_named_without_the_nodes() {
    let before = Config { nodes: vec![Node::default()], ..Config::default() };
    assert_eq!(Config::default().changed_sections(&before), Vec::<String>::new());
    let after = Config::parse("[window]\nin_flight_max = 700\n[log]\nlevel = \"debug\"", "my.toml");
    assert_eq!(before.changed_sections(&after.expect("valid")), ["log", "window"]);
}
