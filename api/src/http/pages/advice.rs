//! What to do about a code, from the table of docs/errors.md.

use super::html;
use crate::problem::Code;

const ERRORS: &str = include_str!("../../../../docs/errors.md");

/// The cells of a code's row: code, gRPC status, HTTP status, retry, what to do.
fn row(code: Code) -> Vec<&'static str> {
    let start = format!("| `{}` |", code.name());
    // A row's reason can have the name of a code: codes come first, with five cells.
    let found = ERRORS.lines().find(|line| line.starts_with(&start));
    let cells = found.unwrap_or_default().trim_matches('|').split('|').map(str::trim);
    cells.collect()
}

fn cell(code: Code, at: usize) -> &'static str {
    row(code).get(at).copied().unwrap_or_default()
}

/// The gRPC status, as gRPC writes it.
pub fn grpc_name(code: Code) -> &'static str {
    cell(code, 1)
}

/// Whether sending the same again helps.
pub fn retry(code: Code) -> &'static str {
    cell(code, 3)
}

/// What to do, as text.
pub fn plain(code: Code) -> String {
    cell(code, 4).replace(['`', '*'], "")
}

/// What to do, as HTML.
pub fn html(code: Code) -> String {
    html::inline(cell(code, 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Retry;

    #[test]
    fn docs_errors_has_a_true_row_for_every_code() {
        for code in Code::ALL {
            let row = row(*code);
            let name = code.name();
            assert_eq!(row.len(), 5, "{name}: {row:?}");
            let grpc = format!("{:?}", code.grpc());
            assert_eq!(row[1].replace('_', "").to_lowercase(), grpc.to_lowercase(), "{name}");
            assert_eq!(row[2], code.http().to_string(), "{name}");
            let retry = match code.retry() {
                Retry::No => "no".to_owned(),
                Retry::SameKey => "same key".to_owned(),
                Retry::After(ms) if ms < 1_000 => format!("after 0.{} s", ms / 100),
                Retry::After(ms) => format!("after {} s", ms / 1_000),
            };
            assert_eq!(row[3], retry, "{name}");
            assert!(!plain(*code).is_empty(), "{name}");
        }
    }
}
