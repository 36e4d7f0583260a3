//! One list of words: the wire, the rules, JSON, the command line, the metrics and the pages use
//! the same ones.

use std::collections::BTreeSet;

use fulgurite::{
    cli,
    wire::{self, json},
};
use fulgurite_core::{
    Msat, UnixMs,
    batch::State as BatchState,
    event::{Contradiction, Failure, PauseReason},
    id::Preimage,
    order::{Priority, RowReason},
    payment::State as PaymentState,
};
use fulgurite_proto::{FULGURITE_FILE_DESCRIPTOR_SET, fulgurite::v1};
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// The values of an enum as JSON writes them: number and word, without "unspecified".
fn words(path: &str) -> Vec<(i32, String)> {
    let set = FileDescriptorSet::decode(FULGURITE_FILE_DESCRIPTOR_SET).expect("our own build");
    let found = set.file.iter().find_map(|file| {
        let (outer, name) = path.rsplit_once('.').unwrap_or(("", path));
        match outer {
            "" => enum_of(&file.enum_type, name).cloned(),
            outer => {
                let is_it = |message: &&DescriptorProto| message.name() == outer;
                enum_of(&file.message_type.iter().find(is_it)?.enum_type, name).cloned()
            }
        }
    });
    let declared = found.unwrap_or_else(|| panic!("no enum {path}"));
    let name = path.rsplit('.').next().unwrap_or(path);
    let prefix = format!("{}_", snake(name).to_uppercase());
    let strip = |value: &str| value.strip_prefix(&prefix).expect(value).to_lowercase();
    declared
        .value
        .iter()
        .filter(|value| value.number() != 0)
        .map(|value| (value.number(), strip(value.name())))
        .collect()
}

fn enum_of<'a>(all: &'a [EnumDescriptorProto], name: &str) -> Option<&'a EnumDescriptorProto> {
    all.iter().find(|declared| declared.name() == name)
}

/// `PauseReason` is `pause_reason`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn set(words: &[(i32, String)]) -> BTreeSet<String> {
    words.iter().map(|(_, word)| word.clone()).collect()
}

/// The words in backticks of the first line of `page` that starts with `start`.
fn in_line(page: &str, start: &str) -> BTreeSet<String> {
    let line = page.lines().find(|line| line.starts_with(start)).expect(start);
    line[start.len()..].split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What an option of the command line takes, such as `batch list --state`.
fn takes(path: &[&str], option: &str) -> BTreeSet<String> {
    let mut command = cli::command();
    for name in path {
        command = command.find_subcommand(name).expect(name).clone();
    }
    let argument = command.get_arguments().find(|argument| argument.get_id() == option);
    let values = argument.expect(option).get_possible_values();
    values.iter().map(|value| value.get_name().to_owned()).collect()
}

fn failed(reason: Failure) -> PaymentState {
    PaymentState::Failed(reason)
}

#[test]
fn states_of_payments() {
    let words = words("Payment.State");
    let states = [
        PaymentState::Queued { not_before: UnixMs(0) },
        PaymentState::Unresolved { attempt: 1, contradiction: Contradiction::WrongPreimage },
        PaymentState::Succeeded { preimage: Preimage([1; 32]), fee_paid: Msat::ZERO },
        failed(Failure::NoRoute),
        PaymentState::Cancelled,
    ];
    for state in &states {
        let wire = wire::payment::state(state);
        assert!(words.contains(&(wire.into(), state.name().to_owned())), "{}", state.name());
    }
    for (number, word) in &words {
        let payment = v1::Payment { state: *number, ..Default::default() };
        assert_eq!(json::payment(&payment).value()["state"], word.as_str());
    }
    assert_eq!(takes(&["batch", "results"], "state"), set(&words));
    let glossary = in_line(include_str!("../../GLOSSARY.md"), "| payment |");
    assert_eq!(glossary, set(&words));
    let metric = "| `fulgurite_payments_total` | counter | `state` |";
    let finals = in_line(include_str!("../../docs/metrics.md"), metric);
    assert_eq!(finals, BTreeSet::from(["succeeded", "failed", "cancelled"].map(str::to_owned)));
    let counts = fields("Counts");
    for (_, word) in &words {
        assert!(counts.contains(&format!("{word}_count")), "Counts lacks {word}");
    }
}

/// The fields of a message.
fn fields(message: &str) -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(FULGURITE_FILE_DESCRIPTOR_SET).expect("our own build");
    let mut messages = set.file.iter().flat_map(|file| &file.message_type);
    let message = messages.find(|declared| declared.name() == message).expect(message);
    message.field.iter().map(|field| field.name().to_owned()).collect()
}

#[test]
fn states_of_batches_and_why_they_are_paused() {
    let words_of_states = words("Batch.State");
    let states = [
        BatchState::Running,
        BatchState::Paused(PauseReason::Requested),
        BatchState::Cancelling,
        BatchState::Finished,
    ];
    for (state, (number, word)) in states.iter().zip(&words_of_states) {
        assert_eq!(i32::from(wire::batch::state_to_proto(*state)), *number);
        let batch = v1::Batch { state: *number, ..Default::default() };
        assert_eq!(json::batch(&batch).value()["state"], word.as_str());
        assert_eq!(format!("{state:?}").split('(').next().map(snake).as_deref(), Some(&word[..]));
    }
    assert_eq!(states.len(), words_of_states.len());
    assert_eq!(takes(&["batch", "list"], "state"), set(&words_of_states));
    for (number, word) in words("Batch.PauseReason") {
        let batch = v1::Batch { pause_reason: number, ..Default::default() };
        assert_eq!(json::batch(&batch).value()["pause_reason"], word.as_str());
    }
}

#[test]
fn reasons() {
    let of_rows = words("RefusedRow.Reason");
    let rules = RowReason::ALL.map(|reason| (reason as i32, snake(&format!("{reason:?}"))));
    assert_eq!(of_rows, rules);
    for (number, word) in &of_rows {
        let row = v1::RefusedRow { reason: *number, ..Default::default() };
        assert_eq!(json::refused_row(&row).value()["reason"], word.as_str());
    }
    let of_failures = words("Failure.Reason");
    let rules = Failure::ALL.map(|reason| (reason as i32, snake(&format!("{reason:?}"))));
    assert_eq!(of_failures, rules);
    for (number, word) in &of_failures {
        let failure = v1::Failure { reason: *number, ..Default::default() };
        let payment = v1::Payment { failure: Some(failure), ..Default::default() };
        assert_eq!(json::payment(&payment).value()["failure"]["reason"], word.as_str());
    }
}

#[test]
fn priorities() {
    let words = words("BatchOptions.Priority");
    let rules = [Priority::Low, Priority::Normal, Priority::High];
    let names: BTreeSet<String> = rules.iter().map(|one| snake(&format!("{one:?}"))).collect();
    assert_eq!(names, set(&words));
    assert_eq!(takes(&["batch", "submit"], "priority"), set(&words));
    let manual = include_str!("../../config/default.toml");
    for (_, word) in &words {
        assert!(manual.contains(&format!("`{word}`")), "config/default.toml lacks {word}");
    }
}

#[test]
fn options_have_one_name_on_the_wire_in_the_file_and_on_the_command_line() {
    let mut command = cli::command();
    command = command.find_subcommand("batch").expect("batch").clone();
    command = command.find_subcommand("submit").expect("submit").clone();
    let longs: BTreeSet<&str> =
        command.get_arguments().filter_map(|argument| argument.get_long()).collect();
    let manual = include_str!("../../config/default.toml");
    for field in fields("BatchOptions") {
        // What is one batch's own has no default in the file.
        if !["start_paused", "accept_valid", "deadline", "fee_policy"].contains(&field.as_str()) {
            assert!(manual.contains(&format!("\n{field} = ")), "config/default.toml lacks {field}");
        }
        let long = match field.as_str() {
            // Every one of these is explained in docs/cli.md.
            "start_paused" => "paused".to_owned(),
            "fee_policy" => "fee-base-msat".to_owned(),
            field => field.replace('_', "-"),
        };
        assert!(longs.contains(long.as_str()), "batch submit lacks --{long}");
    }
}
