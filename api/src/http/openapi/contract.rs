//! The messages of `fulgurite.v1` as their own descriptors have them, comments too: what the
//! description of the HTTP door is made from, so that nothing is written twice.

use std::collections::BTreeMap;

use fulgurite_proto::FULGURITE_FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, field_descriptor_proto::Type,
};

const PACKAGE: &str = "fulgurite.v1";
const TIMESTAMP: &str = "google.protobuf.Timestamp";
const UNSPECIFIED: &str = "UNSPECIFIED";

/// Numbers of fields in descriptor.proto, which the paths of comments are made of.
mod path {
    pub(super) const FILE_MESSAGE: i32 = 4;
    pub(super) const FILE_ENUM: i32 = 5;
    pub(super) const MESSAGE_FIELD: i32 = 2;
    pub(super) const MESSAGE_MESSAGE: i32 = 3;
    pub(super) const MESSAGE_ENUM: i32 = 4;
    pub(super) const ENUM_VALUE: i32 = 2;
}

/// Every message and enum, by its name without the package, such as `Payment.State`.
#[derive(Debug, Default)]
pub struct Contract {
    /// The messages.
    pub messages: BTreeMap<String, Message>,
    /// The enums.
    pub enums: BTreeMap<String, Enum>,
}

/// A message.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub about: String,
    /// Its fields, by number.
    pub fields: Vec<Field>,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its name, in JSON too.
    pub name: String,
    /// Its number on the wire.
    pub number: u32,
    /// What it is.
    pub about: String,
    /// What it holds.
    pub kind: Kind,
    /// It is a list.
    pub repeated: bool,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// 32 bits.
    Small,
    /// 64 bits: a string in JSON.
    Large,
    /// A boolean.
    Truth,
    /// A point in time.
    Time,
    /// Pairs of strings.
    Pairs,
    /// An enum of this name.
    Word(String),
    /// A message of this name.
    Object(String),
}

/// An enum.
#[derive(Debug)]
pub struct Enum {
    /// What it is.
    pub about: String,
    /// Its words as in JSON, with their meaning; without the unspecified one.
    pub words: Vec<(String, String)>,
}

impl Contract {
    /// The contract that this engine was built from.
    pub fn new() -> Contract {
        let set = FileDescriptorSet::decode(FULGURITE_FILE_DESCRIPTOR_SET)
            .expect("the descriptors come from our own build");
        let mut contract = Contract::default();
        for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
            contract.read_file(file);
        }
        contract
    }

    fn read_file(&mut self, file: &FileDescriptorProto) {
        let comments = Comments::of(file);
        for (at, message) in (0..).zip(&file.message_type) {
            self.read_message("", message, &comments, &[path::FILE_MESSAGE, at]);
        }
        for (at, words) in (0..).zip(&file.enum_type) {
            self.read_enum("", words, &comments, &[path::FILE_ENUM, at]);
        }
    }

    fn read_message(
        &mut self,
        parent: &str,
        message: &DescriptorProto,
        comments: &Comments,
        at: &[i32],
    ) {
        let name = below(parent, message.name());
        let fields = (0..).zip(&message.field).map(|(index, field)| {
            let about = comments.at(&below_path(at, path::MESSAGE_FIELD, index));
            field_of(field, message, about)
        });
        let mut fields: Vec<_> = fields.collect();
        fields.sort_by_key(|field| field.number);
        for (index, inner) in (0..).zip(&message.nested_type) {
            let inner_at = below_path(at, path::MESSAGE_MESSAGE, index);
            self.read_message(&name, inner, comments, &inner_at);
        }
        for (index, words) in (0..).zip(&message.enum_type) {
            let words_at = below_path(at, path::MESSAGE_ENUM, index);
            self.read_enum(&name, words, comments, &words_at);
        }
        self.messages.insert(name, Message { about: comments.at(at), fields });
    }

    fn read_enum(
        &mut self,
        parent: &str,
        words: &EnumDescriptorProto,
        comments: &Comments,
        at: &[i32],
    ) {
        let zero = words.value.iter().find(|value| value.number() == 0);
        let zero = zero.map(|value| value.name()).unwrap_or_default();
        let prefix = zero.trim_end_matches(UNSPECIFIED);
        let values = (0..).zip(&words.value).filter(|(_, value)| value.number() != 0);
        let values = values.map(|(index, value)| {
            let word = value.name().trim_start_matches(prefix).to_ascii_lowercase();
            (word, comments.at(&below_path(at, path::ENUM_VALUE, index)))
        });
        let found = Enum { about: comments.at(at), words: values.collect() };
        self.enums.insert(below(parent, words.name()), found);
    }
}

fn below(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn below_path(at: &[i32], field: i32, index: i32) -> Vec<i32> {
    [at, &[field, index]].concat()
}

fn field_of(field: &FieldDescriptorProto, message: &DescriptorProto, about: String) -> Field {
    use prost_types::field_descriptor_proto::Label;
    let type_name = field.type_name().trim_start_matches('.');
    let local = type_name.strip_prefix(PACKAGE).unwrap_or_default().trim_start_matches('.');
    let is_map = message.nested_type.iter().any(|inner| {
        inner.options.as_ref().is_some_and(|options| options.map_entry())
            && type_name.ends_with(inner.name())
    });
    let kind = match field.r#type() {
        Type::Int64 => Kind::Large,
        Type::Int32 => Kind::Small,
        Type::Bool => Kind::Truth,
        Type::Enum => Kind::Word(local.to_owned()),
        Type::Message if type_name == TIMESTAMP => Kind::Time,
        Type::Message if is_map => Kind::Pairs,
        Type::Message => Kind::Object(local.to_owned()),
        // The contract has no other types: a test looks.
        _ => Kind::Text,
    };
    let number = u32::try_from(field.number()).unwrap_or_default();
    let repeated = field.label() == Label::Repeated && kind != Kind::Pairs;
    Field { name: field.name().to_owned(), number, about, kind, repeated }
}

/// The comments of a file, by the path of what they stand before.
struct Comments(BTreeMap<Vec<i32>, String>);

impl Comments {
    fn of(file: &FileDescriptorProto) -> Comments {
        let info = file.source_code_info.iter().flat_map(|info| &info.location);
        let found = info.filter(|location| location.leading_comments.is_some()).map(|location| {
            let lines = location.leading_comments().lines().map(str::trim);
            (location.path.clone(), lines.collect::<Vec<_>>().join(" ").trim().to_owned())
        });
        Comments(found.collect())
    }

    fn at(&self, path: &[i32]) -> String {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_are_read_with_their_comments() {
        let contract = Contract::new();
        let payment = &contract.messages["Payment"];
        let state = payment.fields.iter().find(|field| field.name == "state").expect("a state");
        assert_eq!(state.kind, Kind::Word("Payment.State".into()));
        assert_eq!(state.about, "Where it stands.");
        let words: Vec<_> = contract.enums["Payment.State"].words.iter().map(|(w, _)| w).collect();
        let expected = ["queued", "in_flight", "unresolved", "succeeded", "failed", "cancelled"];
        assert_eq!(words, expected);
        let metadata = contract.messages["Batch"].fields.iter().find(|f| f.name == "metadata");
        assert_eq!(metadata.expect("metadata").kind, Kind::Pairs);
    }

    #[test]
    fn the_contract_has_no_type_that_json_is_not_told_of() {
        let set = FileDescriptorSet::decode(FULGURITE_FILE_DESCRIPTOR_SET).expect("descriptors");
        let known = [Type::String, Type::Int32, Type::Int64, Type::Bool, Type::Enum, Type::Message];
        for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
            for message in &file.message_type {
                for field in &message.field {
                    assert!(known.contains(&field.r#type()), "{}", field.name());
                }
            }
        }
    }

    #[test]
    fn everything_has_a_comment() {
        let contract = Contract::new();
        let mut bare = Vec::new();
        for (name, message) in &contract.messages {
            let is_entry = name.ends_with("Entry");
            let fields = message.fields.iter().filter(|field| field.about.is_empty());
            bare.extend(fields.filter(|_| !is_entry).map(|field| format!("{name}.{}", field.name)));
            bare.extend((message.about.is_empty() && !is_entry).then(|| name.clone()));
        }
        for (name, words) in &contract.enums {
            let empty = words.words.iter().filter(|(_, about)| about.is_empty());
            bare.extend(empty.map(|(word, _)| format!("{name}.{word}")));
        }
        assert!(bare.is_empty(), "no comment: {bare:?}");
    }
}
