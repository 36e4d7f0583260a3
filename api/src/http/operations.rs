//! What the HTTP door can do: one table, from which come its routes, its description
//! (`/openapi.json`) and its documentation (`/docs`).

use axum::routing::MethodRouter;

use super::openapi::schema::{
    ERROR_CODE, NODE_RESOLUTION, NOTHING, PAYMENT_REQUEST, RESOLUTION, STEERING, TRUST,
};
use crate::{Doors, problem::Code};

mod documentation;
mod operating;
mod ordering;
mod reading;

/// One operation: a method on a path.
pub struct Operation {
    /// Its name for generated clients.
    pub id: &'static str,
    /// The method, in capitals.
    pub method: &'static str,
    /// The path, with the names of its parameters in braces.
    pub path: &'static str,
    /// The chapter that it belongs to.
    pub tag: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What else to know.
    pub description: &'static str,
    /// What it takes besides a body.
    pub parameters: &'static [Parameter],
    /// What its body holds; `None` when it takes none.
    pub body: Option<Body>,
    /// How it answers when it does what it is asked for.
    pub answers: &'static [Answer],
    /// What it may refuse with, beyond [`CHANGES`] and [`EVERYWHERE`].
    pub codes: &'static [Code],
    /// Its handler.
    pub route: fn() -> MethodRouter<Doors>,
}

impl Operation {
    /// What it may refuse with, beyond [`EVERYWHERE`].
    pub fn refusals(&self) -> impl Iterator<Item = Code> {
        let changes = if self.method == "POST" { CHANGES } else { &[] };
        self.codes.iter().chain(changes).copied()
    }
}

/// A body that an operation takes.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// The name of its schema.
    pub schema: &'static str,
    /// The name of its example.
    pub example: &'static str,
}

/// Something that an operation takes besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// `path`, `query` or `header`.
    pub place: &'static str,
    /// The request is refused without it.
    pub required: bool,
    /// What it holds.
    pub holds: Holds,
    /// What it means.
    pub about: &'static str,
    /// An example.
    pub example: &'static str,
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// Text of this pattern.
    Text(&'static str),
    /// A number from 0 to this one.
    Number(i32),
    /// A truth.
    Truth,
    /// A word of this enum of the contract.
    Word(&'static str),
    /// Words of this enum; the parameter may be there several times.
    Words(&'static str),
    /// The name of a problem.
    Code,
}

/// A good answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What it means.
    pub about: &'static str,
    /// What it holds, and in which media type.
    pub body: Shape,
    /// Headers beyond the usual ones: name, meaning.
    pub headers: &'static [(&'static str, &'static str)],
}

/// What an answer holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// JSON of this schema, with this example.
    Json(&'static str, &'static str),
    /// JSON of this schema, with this example; or a page for people.
    JsonOrPage(&'static str, &'static str),
    /// A page for people.
    Page,
    /// JSON that describes the door itself.
    Description,
}

/// What every operation that changes something may refuse with.
const CHANGES: &[Code] =
    &[Code::MediaTypeUnsupported, Code::Starting, Code::Stopping, Code::UnknownOutcome];

/// What every operation may refuse with.
pub const EVERYWHERE: &[Code] = &[
    Code::InvalidField,
    Code::NotLocal,
    Code::UploadTimeout,
    Code::UploadIncomplete,
    Code::MessageTooLarge,
    Code::Overloaded,
    Code::Internal,
];

/// Every operation.
pub fn all() -> impl Iterator<Item = &'static Operation> + Clone {
    let changing = ordering::OPERATIONS.iter().chain(operating::OPERATIONS);
    changing.chain(reading::OPERATIONS).chain(documentation::OPERATIONS)
}

const PAYMENTS: &str = "Payments";
const BATCHES: &str = "Batches";
const ENGINE: &str = "Engine";
const DOCUMENTATION: &str = "Documentation";

/// The chapters, with what they hold.
pub const TAGS: &[(&str, &str)] = &[
    (PAYMENTS, "Ordering single payments and following them."),
    (BATCHES, "Batches are uploaded over gRPC; here they are read, paused, resumed, cancelled."),
    (ENGINE, "The engine and its nodes."),
    (DOCUMENTATION, "What this door says about itself."),
];

const NO_BODY: Option<Body> = Some(Body { schema: NOTHING, example: "nothing" });

const PAYMENT_ID: Parameter = Parameter {
    name: "payment_id",
    place: "path",
    required: true,
    holds: Holds::Text("^[^/]+$"),
    about: "The payment's id.",
    example: "pay_01a20066-8163-7017-a2c2-5f4cefaa0001",
};
const BATCH_ID: Parameter = Parameter {
    name: "batch_id",
    place: "path",
    required: true,
    holds: Holds::Text("^[^/]+$"),
    about: "The batch's id.",
    example: "bat_01a20066-8183-77e6-8944-d751d47e0000",
};
const PAGE_SIZE: Parameter = Parameter {
    name: "page_size",
    place: "query",
    required: false,
    holds: Holds::Number(1_000),
    about: "At most this many, 1 to 1,000; 0 is the default, 100.",
    example: "100",
};
const PAGE_TOKEN: Parameter = Parameter {
    name: "page_token",
    place: "query",
    required: false,
    holds: Holds::Text(""),
    about: "`next_page_token` of the page before; the other parameters stay the same.",
    example: "",
};
const VIEW: Parameter = Parameter {
    name: "view",
    place: "query",
    required: false,
    holds: Holds::Word("View"),
    about: "How much of a payment; `full` shows preimage and attempts.",
    example: "full",
};

/// A good answer with JSON.
const fn json(
    status: u16,
    about: &'static str,
    schema: &'static str,
    example: &'static str,
) -> Answer {
    Answer { status, about, body: Shape::Json(schema, example), headers: &[] }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_and_a_route_of_its_own() {
        let ids: BTreeSet<_> = all().map(|operation| operation.id).collect();
        let routes: BTreeSet<_> =
            all().map(|operation| (operation.path, operation.method)).collect();
        assert_eq!((ids.len(), routes.len()), (all().count(), all().count()));
        for operation in all() {
            let id = operation.id;
            assert!(TAGS.iter().any(|(tag, _)| *tag == operation.tag), "{id}");
            assert!(!operation.answers.is_empty(), "{id}");
            assert_eq!(operation.method == "POST", operation.body.is_some(), "{id}");
            for part in operation.path.split('/').filter_map(|part| part.strip_prefix('{')) {
                let name = part.trim_end_matches('}');
                let named = |it: &&Parameter| it.place == "path" && it.name == name;
                assert!(operation.parameters.iter().any(|it| named(&it)), "{id}: {name}");
            }
        }
    }
}
