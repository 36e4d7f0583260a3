//! The codes keep their meaning, and their page has all of them.

use fulgurite_core::event::Failure;

use super::*;

#[test]
fn every_code_has_a_name_of_its_own() {
    for (at, code) in Code::ALL.iter().enumerate() {
        assert_eq!(Code::named(code.name()), Some(*code));
        assert!(Code::ALL[..at].iter().all(|other| other.name() != code.name()));
        let name = code.name().replace('_', "").to_lowercase();
        assert_eq!(name, format!("{code:?}").to_lowercase());
    }
}

#[test]
#[rustfmt::skip] // A table: one line is one code of the contract.
fn the_contract_s_codes_keep_their_status() {
    let table = [
        ("INVALID_FIELD", Grpc::InvalidArgument, 400), ("ROWS_REFUSED", Grpc::InvalidArgument, 422),
        ("ORDER_REFUSED", Grpc::InvalidArgument, 422), ("IDEMPOTENCY_KEY_MISSING", Grpc::InvalidArgument, 400),
        ("BATCH_TOO_LARGE", Grpc::InvalidArgument, 413), ("MESSAGE_TOO_LARGE", Grpc::InvalidArgument, 413),
        ("PAGE_TOKEN_MISMATCH", Grpc::InvalidArgument, 400), ("CURSOR_INVALID", Grpc::InvalidArgument, 400),
        ("BATCH_NOT_FOUND", Grpc::NotFound, 404), ("PAYMENT_NOT_FOUND", Grpc::NotFound, 404),
        ("IDEMPOTENCY_KEY_REUSED", Grpc::AlreadyExists, 422), ("HASH_CLAIMED", Grpc::AlreadyExists, 409),
        ("ALREADY_PAID", Grpc::AlreadyExists, 409), ("BATCH_FINISHED", Grpc::FailedPrecondition, 409),
        ("PAYMENT_FINISHED", Grpc::FailedPrecondition, 409), ("PAYMENT_IN_FLIGHT", Grpc::FailedPrecondition, 409),
        ("UPLOAD_INCOMPLETE", Grpc::Aborted, 409), ("UPLOAD_TIMEOUT", Grpc::Aborted, 408),
        ("OVERLOADED", Grpc::ResourceExhausted, 429), ("TOO_MANY_OPEN", Grpc::ResourceExhausted, 429),
        ("CURSOR_EXPIRED", Grpc::OutOfRange, 410), ("INTERNAL", Grpc::Internal, 500),
        ("STARTING", Grpc::Unavailable, 503), ("STOPPING", Grpc::Unavailable, 503),
        ("DISK_LOW", Grpc::Unavailable, 503), ("STREAM_RECYCLED", Grpc::Unavailable, 503),
        ("UNKNOWN_OUTCOME", Grpc::Unavailable, 503),
    ];
    for (name, grpc, http) in table {
        let code = Code::named(name).expect(name);
        assert_eq!((code.grpc(), code.http()), (grpc, http), "{name}");
    }
}

#[test]
fn the_page_of_errors_has_every_code_and_reason() {
    let page = include_str!("../../../docs/errors.md");
    let has = |row: &str| assert!(page.contains(row), "docs/errors.md lacks {row}");
    for code in Code::ALL {
        let retry = match code.retry() {
            Retry::No => "no".to_owned(),
            Retry::SameKey => "same key".to_owned(),
            Retry::After(ms) => format!("after {} s", ms as f64 / 1_000.0),
        };
        let grpc = v1_name(&format!("{:?}", code.grpc()));
        has(&format!("| `{}` | {grpc} | {} | {retry} |", code.name(), code.http()));
    }
    RowReason::ALL
        .iter()
        .for_each(|reason| has(&format!("| `{}` |", v1_name(&format!("{reason:?}")))));
    Failure::ALL
        .iter()
        .for_each(|reason| has(&format!("| `{}` |", v1_name(&format!("{reason:?}")))));
}

/// `NotFound` is `NOT_FOUND`.
fn v1_name(name: &str) -> String {
    let part = |letter: char| {
        if letter.is_uppercase() { format!("_{letter}") } else { letter.to_uppercase().to_string() }
    };
    name.chars().map(part).collect::<String>().trim_start_matches('_').to_owned()
}

#[test]
fn every_status_carries_its_details_within_4_kib() {
    for code in Code::ALL {
        let violation = Violation { field: "f".repeat(900), message: "m".repeat(900) };
        let mut problem = invalid_all(vec![violation; 20]);
        problem.code = *code;
        let status = problem.with("key", "v".repeat(900)).into_status();
        assert!(status.details().len() <= 4_096, "{}", status.details().len());
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (code.name(), DOMAIN));
        assert!(status.get_details_request_info().is_some());
        let retry = matches!(code.retry(), Retry::After(_));
        assert_eq!(status.get_details_retry_info().is_some(), retry, "{}", code.name());
    }
}
