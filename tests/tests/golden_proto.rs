//! The public contract never loses anything: what was once released is still there, with the same
//! number, type, label and oneof.
//!
//! `tests/golden/proto/fulgurite.v1.binpb` is a `FileDescriptorSet` of the released files. After an
//! addition, `FULGURITE_WRITE_GOLDEN=1 cargo test -p fulgurite-tests --test golden_proto` writes it
//! anew; it refuses to when something was lost.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use fulgurite_proto::FULGURITE_FILE_DESCRIPTOR_SET;
use fulgurite_tests::descriptors::{Comparison, Index, compare, index};
use prost::Message;
use prost_types::{
    FileDescriptorSet, descriptor_proto::ReservedRange, enum_descriptor_proto::EnumReservedRange,
    field_descriptor_proto::Type,
};

fn golden_path() -> PathBuf {
    fulgurite_tests::root().join("tests/golden/proto/fulgurite.v1.binpb")
}

/// What this build serves, without comments and places, which are no part of the contract.
fn served() -> Result<FileDescriptorSet> {
    let mut set = FileDescriptorSet::decode(FULGURITE_FILE_DESCRIPTOR_SET)?;
    for file in &mut set.file {
        file.source_code_info = None;
    }
    Ok(set)
}

fn released() -> Result<FileDescriptorSet> {
    let path = golden_path();
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(FileDescriptorSet::decode(bytes.as_slice())?)
}

fn losses(released: &Index, served: &Index) -> Comparison {
    compare((released, "the release"), (served, "this build"))
}

#[test]
fn nothing_that_was_released_is_lost() -> Result<()> {
    let served = served()?;
    if std::env::var_os("FULGURITE_WRITE_GOLDEN").is_some() {
        let lost = released().map(|released| losses(&index(&released), &index(&served)));
        let lost = lost.map(|comparison| comparison.differences).unwrap_or_default();
        assert!(lost.is_empty(), "not written, because something was lost: {lost:#?}");
        let path = golden_path();
        fs::create_dir_all(path.parent().context("it has a folder")?)?;
        fs::write(&path, served.encode_to_vec())?;
    }
    let released = released()?;
    let comparison = losses(&index(&released), &index(&served));
    let Comparison { messages, fields, enum_values, methods, differences, .. } = comparison;
    println!(
        "compared with the release: {messages} messages, {fields} fields, {enum_values} enum \
         values, {methods} methods"
    );
    assert!(differences.is_empty(), "{differences:#?}");
    let added = losses(&index(&served), &index(&released)).differences;
    assert!(added.is_empty(), "additions that the golden file does not know yet: {added:#?}");
    Ok(())
}

#[test]
fn a_lost_field_value_or_method_is_named() -> Result<()> {
    let released = index(&released()?);
    let mut served = released.clone();
    let payment = served.messages.get_mut("fulgurite.v1.Payment").context("a message")?;
    payment.field.retain(|field| field.name() != "preimage");
    let state = served.enums.get_mut("fulgurite.v1.Payment.State").context("an enum")?;
    state.value.retain(|value| value.name() != "STATE_UNRESOLVED");
    served.methods.remove("fulgurite.v1.BatchService/PauseBatch");
    assert_eq!(
        losses(&released, &served).differences,
        [
            "fulgurite.v1.BatchService/PauseBatch: this build has no such method",
            "fulgurite.v1.Payment.State.STATE_UNRESOLVED: this build has no such value",
            "fulgurite.v1.Payment.preimage: this build has no such field",
        ]
    );
    Ok(())
}

#[test]
#[rustfmt::skip] // A table: one line is one message or enum and what is kept for later.
fn numbers_of_later_features_are_kept_free() -> Result<()> {
    let served = index(&served()?);
    for (name, ranges) in [
        ("PaymentOrder", &[2..=9, 11..=14, 18..=20][..]), // destinations, amounts, texts
        ("BatchOptions", &[13..=16]), // start, nodes, approval, cost centre
        ("Counts", &[9..=9]), // held
        ("Payment", &[7..=11, 30..=34]), // fiat, quote, receipt, times, hold
        ("UploadBatchResponse", &[3..=3]), // received
        ("Event", &[6..=15]), // other objects
    ] {
        let message = &served.messages[&format!("fulgurite.v1.{name}")];
        for number in ranges.iter().cloned().flatten() {
            let kept = |range: &ReservedRange| (range.start()..range.end()).contains(&number);
            assert!(message.reserved_range.iter().any(kept), "{name}: {number} is not kept");
        }
    }
    for (name, range) in [
        ("Batch.State", 5..=15), // draft, scheduled, approval
        ("Batch.PauseReason", 4..=9),
        ("Payment.State", 7..=15), // held
    ] {
        let declared = &served.enums[&format!("fulgurite.v1.{name}")];
        for number in range {
            let kept = |range: &EnumReservedRange| (range.start()..=range.end()).contains(&number);
            assert!(declared.reserved_range.iter().any(kept), "{name}: {number} is not kept");
        }
    }
    Ok(())
}

#[test]
fn large_numbers_name_their_unit_and_no_request_names_a_tenant() -> Result<()> {
    let served = index(&served()?);
    let mut amounts = 0;
    let ours = served.messages.iter().filter(|(name, _)| name.starts_with("fulgurite."));
    for (message, declared) in ours {
        for field in &declared.field {
            let name = field.name();
            let tenant = ["tenant", "account", "api_key"].iter().any(|word| name.contains(word));
            assert!(!tenant, "{message}.{name}: who asks comes from the credential");
            if field.r#type() == Type::Int64 {
                let unit = name.ends_with("_msat") || name.contains("_msat_");
                amounts += i32::from(unit);
                let other = ["version", "clock_offset_ms", "open_payments_max"].contains(&name);
                assert!(unit || other, "{message}.{name} does not say its unit");
            }
        }
    }
    assert!(amounts >= 15, "only {amounts} amounts");
    Ok(())
}
