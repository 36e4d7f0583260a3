//! What `.proto` files declare, and how two sets of them differ.

use std::collections::HashMap;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
};

/// Everything that a set of files declares, by full name without the leading dot.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The messages, nested ones too.
    pub messages: HashMap<String, DescriptorProto>,
    /// The enums, nested ones too.
    pub enums: HashMap<String, EnumDescriptorProto>,
    /// The methods, as `package.Service/Method`.
    pub methods: HashMap<String, MethodDescriptorProto>,
}

/// Everything that `set` declares.
pub fn index(set: &FileDescriptorSet) -> Index {
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
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    whole: &'static str,
    part: &'static str,
    /// Messages that were compared.
    pub messages: usize,
    /// Fields that were compared.
    pub fields: usize,
    /// Values of enums that were compared.
    pub enum_values: usize,
    /// Methods that were compared.
    pub methods: usize,
    /// What is missing or different in the whole, a line each, sorted.
    pub differences: Vec<String>,
}

impl Comparison {
    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, of: &str, whole: T, part: T) {
        if whole != part {
            let names = (self.whole, self.part);
            self.differences
                .push(format!("{what}: {} has {of} {whole:?}, {} {part:?}", names.0, names.1));
        }
    }

    fn missing(&mut self, what: &str, kind: &str) {
        self.differences.push(format!("{what}: {} has no such {kind}", self.whole));
    }
}

/// Looks for all of `part` in `whole`: same numbers, types, labels and oneofs. Each comes with its
/// name for the differences. What `whole` has besides is nobody's business.
pub fn compare(
    (part, part_name): (&Index, &'static str),
    (whole, whole_name): (&Index, &'static str),
) -> Comparison {
    let mut comparison = Comparison { whole: whole_name, part: part_name, ..Comparison::default() };
    for (name, message) in &part.messages {
        comparison.messages += 1;
        match whole.messages.get(name) {
            Some(other) => compare_fields(&mut comparison, name, message, other),
            None => comparison.missing(name, "message"),
        }
    }
    for (name, declared) in &part.enums {
        match whole.enums.get(name) {
            Some(other) => compare_values(&mut comparison, name, declared, other),
            None => comparison.missing(name, "enum"),
        }
    }
    for (name, method) in &part.methods {
        comparison.methods += 1;
        match whole.methods.get(name) {
            Some(other) => compare_method(&mut comparison, name, method, other),
            None => comparison.missing(name, "method"),
        }
    }
    comparison.differences.sort();
    comparison
}

fn compare_fields(
    all: &mut Comparison,
    name: &str,
    part: &DescriptorProto,
    whole: &DescriptorProto,
) {
    let oneof = |message: &DescriptorProto, field: &FieldDescriptorProto| {
        let index = usize::try_from(field.oneof_index?).ok()?;
        message.oneof_decl.get(index).map(|oneof| oneof.name().to_owned())
    };
    for field in &part.field {
        all.fields += 1;
        let what = format!("{name}.{}", field.name());
        let Some(other) = whole.field.iter().find(|other| other.name() == field.name()) else {
            all.missing(&what, "field");
            continue;
        };
        all.expect(&what, "number", other.number(), field.number());
        all.expect(&what, "type", other.r#type(), field.r#type());
        all.expect(&what, "type name", other.type_name(), field.type_name());
        all.expect(&what, "label", other.label(), field.label());
        all.expect(&what, "oneof", oneof(whole, other), oneof(part, field));
    }
}

fn compare_values(
    all: &mut Comparison,
    name: &str,
    part: &EnumDescriptorProto,
    whole: &EnumDescriptorProto,
) {
    for value in &part.value {
        all.enum_values += 1;
        let what = format!("{name}.{}", value.name());
        match whole.value.iter().find(|other| other.name() == value.name()) {
            Some(other) => all.expect(&what, "number", other.number(), value.number()),
            None => all.missing(&what, "value"),
        }
    }
}

fn compare_method(
    all: &mut Comparison,
    name: &str,
    part: &MethodDescriptorProto,
    whole: &MethodDescriptorProto,
) {
    all.expect(name, "request", whole.input_type(), part.input_type());
    all.expect(name, "answer", whole.output_type(), part.output_type());
    all.expect(name, "request stream", whole.client_streaming(), part.client_streaming());
    all.expect(name, "answer stream", whole.server_streaming(), part.server_streaming());
}
