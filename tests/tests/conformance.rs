//! Our part of lnd's API against lnd's own files: every message, field, enum value and method
//! that we declare is there, with the same number, type, label and oneof.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use fulgurite_tests::regtest::Binaries;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
};

const LND_FILES: [&str; 4] = [
    "lightning.proto",
    "stateservice.proto",
    "routerrpc/router.proto",
    "invoicesrpc/invoices.proto",
];

#[test]
fn our_part_of_lnds_api_is_lnds() -> Result<()> {
    let lnd = lnds_files()?;
    let comparison = compare(&index(&our_files(&our_folder())?), &lnd);
    let Comparison { messages, fields, enum_values, methods, differences } = comparison;
    println!(
        "compared with lnd: {messages} messages, {fields} fields, {enum_values} enum values, \
         {methods} methods"
    );
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(messages > 40 && fields > 150 && enum_values > 40 && methods == 15);
    Ok(())
}

#[test]
fn a_wrong_field_number_is_named() -> Result<()> {
    let copy = tempfile::tempdir()?;
    for file in fs::read_dir(our_folder())? {
        let file = file?;
        let text = fs::read_to_string(file.path())?;
        let wrong = text.replace("int64 value_msat = 8;", "int64 value_msat = 18;");
        fs::write(copy.path().join(file.file_name()), wrong)?;
    }
    let comparison = compare(&index(&our_files(copy.path())?), &lnds_files()?);
    assert_eq!(comparison.differences, ["lnrpc.Payment.value_msat: lnd has number 8, we 18"]);
    Ok(())
}

fn our_folder() -> PathBuf {
    fulgurite_tests::root().join("proto/lnrpc")
}

fn our_files(folder: &Path) -> Result<FileDescriptorSet> {
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        files.push(file?.path());
    }
    Ok(protox::compile(files, [folder])?)
}

fn lnds_files() -> Result<Index> {
    let folder = Binaries::find()?.protos();
    let set = protox::compile(LND_FILES, [&folder])
        .with_context(|| format!("lnd's files in {}", folder.display()))?;
    Ok(index(&set))
}

/// Everything that a set of files declares, by full name without the leading dot.
#[derive(Default)]
struct Index {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, EnumDescriptorProto>,
    methods: HashMap<String, MethodDescriptorProto>,
}

fn index(set: &FileDescriptorSet) -> Index {
    let mut index = Index::default();
    for file in &set.file {
        for message in &file.message_type {
            index_message(&mut index, file.package(), message);
        }
        for declared in &file.enum_type {
            index.enums.insert(format!("{}.{}", file.package(), declared.name()), declared.clone());
        }
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                index.methods.insert(name, method.clone());
            }
        }
    }
    index
}

fn index_message(index: &mut Index, outer: &str, message: &DescriptorProto) {
    let name = format!("{outer}.{}", message.name());
    for nested in &message.nested_type {
        index_message(index, &name, nested);
    }
    for declared in &message.enum_type {
        index.enums.insert(format!("{name}.{}", declared.name()), declared.clone());
    }
    index.messages.insert(name, message.clone());
}

/// How much was compared, and what differs.
#[derive(Default)]
struct Comparison {
    messages: usize,
    fields: usize,
    enum_values: usize,
    methods: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, part: &str, lnd: T, ours: T) {
        if lnd != ours {
            self.differences.push(format!("{what}: lnd has {part} {lnd:?}, we {ours:?}"));
        }
    }
}

fn compare(ours: &Index, lnd: &Index) -> Comparison {
    let mut comparison = Comparison::default();
    for (name, message) in &ours.messages {
        comparison.messages += 1;
        match lnd.messages.get(name) {
            Some(lnds) => compare_fields(&mut comparison, name, message, lnds),
            None => comparison.differences.push(format!("{name}: lnd has no such message")),
        }
    }
    for (name, declared) in &ours.enums {
        match lnd.enums.get(name) {
            Some(lnds) => compare_values(&mut comparison, name, declared, lnds),
            None => comparison.differences.push(format!("{name}: lnd has no such enum")),
        }
    }
    for (name, method) in &ours.methods {
        comparison.methods += 1;
        match lnd.methods.get(name) {
            Some(lnds) => compare_method(&mut comparison, name, method, lnds),
            None => comparison.differences.push(format!("{name}: lnd has no such method")),
        }
    }
    comparison.differences.sort();
    comparison
}

fn compare_fields(all: &mut Comparison, name: &str, ours: &DescriptorProto, lnd: &DescriptorProto) {
    let oneof = |message: &DescriptorProto, field: &FieldDescriptorProto| {
        let index = usize::try_from(field.oneof_index?).ok()?;
        message.oneof_decl.get(index).map(|oneof| oneof.name().to_owned())
    };
    for field in &ours.field {
        all.fields += 1;
        let what = format!("{name}.{}", field.name());
        let Some(lnds) = lnd.field.iter().find(|lnds| lnds.name() == field.name()) else {
            all.differences.push(format!("{what}: lnd has no such field"));
            continue;
        };
        all.expect(&what, "number", lnds.number(), field.number());
        all.expect(&what, "type", lnds.r#type(), field.r#type());
        all.expect(&what, "type name", lnds.type_name(), field.type_name());
        all.expect(&what, "label", lnds.label(), field.label());
        all.expect(&what, "oneof", oneof(lnd, lnds), oneof(ours, field));
    }
}

fn compare_values(
    all: &mut Comparison,
    name: &str,
    ours: &EnumDescriptorProto,
    lnd: &EnumDescriptorProto,
) {
    for value in &ours.value {
        all.enum_values += 1;
        let what = format!("{name}.{}", value.name());
        match lnd.value.iter().find(|lnds| lnds.name() == value.name()) {
            Some(lnds) => all.expect(&what, "number", lnds.number(), value.number()),
            None => all.differences.push(format!("{what}: lnd has no such value")),
        }
    }
}

fn compare_method(
    all: &mut Comparison,
    name: &str,
    ours: &MethodDescriptorProto,
    lnd: &MethodDescriptorProto,
) {
    all.expect(name, "request", lnd.input_type(), ours.input_type());
    all.expect(name, "answer", lnd.output_type(), ours.output_type());
    all.expect(name, "request stream", lnd.client_streaming(), ours.client_streaming());
    all.expect(name, "answer stream", lnd.server_streaming(), ours.server_streaming());
}
