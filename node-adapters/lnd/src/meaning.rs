//! What lnd's answers mean: the one table from codes, texts and reasons to the port's words.
//!
//! Only what proves that a send did not and cannot start is a refusal (rule E11): lnd's checks
//! before its database, known by their exact texts. Everything else is unknown, never failed.

use fulgurite_core::port::{FailureReason, ProbeAnswer, Refused, SendEnd, TrackReport};
use fulgurite_proto::lnrpc::PaymentFailureReason;
use tonic::Code;

use crate::grpc::CallFault;

/// How a text of lnd is recognised.
enum Text {
    Any,
    Is(&'static str),
    Starts(&'static str),
    /// Start and end.
    Between(&'static str, &'static str),
}

impl Text {
    fn matches(&self, text: &str) -> bool {
        match self {
            Text::Any => true,
            Text::Is(whole) => text == *whole,
            Text::Starts(start) => text.starts_with(start),
            Text::Between(start, end) => text.starts_with(start) && text.ends_with(end),
        }
    }
}

/// How lnd words an expired `time-before`, and a root key that was deleted.
const CAVEAT: &str = "caveat \"time-before ";
const CAVEAT_WRAPPED: &str = "verification failed: caveat \"time-before ";
const EXPIRED: &str = "macaroon has expired";
const NO_ROOT_KEY: &str = "cannot retrieve macaroon: cannot get macaroon: root key with id ";
const AMOUNT_TWICE: &str = "amount must not be specified when paying a non-zero amount invoice";
const NO_ADDRESS: &str = "payment request must contain either a payment address or blinded paths";
const AMP: &str = "the AMP flag (--amp or SendPaymentRequest.Amp) must be set";

/// Refusals of `SendPaymentV2` that account for the send. lnd v0.21: the macaroon is checked
/// first, then `extractIntentFromSendRequest`, then the database (`AlreadyExists`).
#[rustfmt::skip] // A table.
const REFUSALS: &[(Code, Text, Refused)] = &[
    (Code::AlreadyExists, Text::Any, Refused::AlreadyExists),
    (Code::Unknown, Text::Starts("invoice expired. Valid until "), Refused::InvoiceExpired),
    (Code::Unknown, Text::Between(CAVEAT, EXPIRED), Refused::MacaroonExpired),
    (Code::Unknown, Text::Between(CAVEAT_WRAPPED, EXPIRED), Refused::MacaroonExpired),
    (Code::Unknown, Text::Between(NO_ROOT_KEY, "doesn't exist"), Refused::MacaroonExpired),
    (Code::Unknown, Text::Is("self-payments not allowed"), Refused::SelfPayment),
    (Code::Unknown, Text::Starts("amount must be specified"), Refused::Invalid),
    (Code::Unknown, Text::Is(AMOUNT_TWICE), Refused::Invalid),
    (Code::Unknown, Text::Is(NO_ADDRESS), Refused::Invalid),
    (Code::Unknown, Text::Starts(AMP), Refused::Invalid),
    (Code::Unknown, Text::Starts("total time lock of "), Refused::Invalid),
    (Code::Unknown, Text::Starts("cltv limit "), Refused::Invalid),
    (Code::Unknown, Text::Is("invalid invoice signature"), Refused::Invalid),
    (Code::Unknown, Text::Starts("invalid bech32 string length "), Refused::Invalid),
    (Code::Unknown, Text::Starts("checksum failed. Expected "), Refused::Invalid),
    (Code::Unknown, Text::Starts("invoice not for current active network"), Refused::Invalid),
    (Code::Unknown, Text::Starts("invoice contains unknown feature bits"), Refused::Invalid),
];

/// What the end of a send means when no final payment was shown.
pub fn send_end(fault: &CallFault) -> SendEnd {
    match fault {
        CallFault::Broken(_) => SendEnd::Lost(fault.to_string()),
        CallFault::Status(code, text) => REFUSALS
            .iter()
            .find(|(its_code, its_text, _)| its_code == code && its_text.matches(text))
            .map_or_else(
                || SendEnd::Lost(fault.to_string()),
                |(_, _, refused)| SendEnd::Refused(*refused),
            ),
    }
}

/// lnd says that the root key with this id does not exist: no request with a macaroon that was made
/// with it can start any more.
pub fn is_root_key_gone(fault: &CallFault, id: u64) -> bool {
    let CallFault::Status(Code::Unknown, text) = fault else {
        return false;
    };
    let rest = text.strip_prefix(NO_ROOT_KEY).and_then(|rest| rest.strip_prefix(&id.to_string()));
    rest == Some(" doesn't exist")
}

/// What the end of a `TrackPaymentV2` call means when no payment was shown.
pub fn track_end(fault: &CallFault) -> TrackReport {
    match fault {
        CallFault::Status(Code::NotFound, _) => TrackReport::NotFound,
        CallFault::Status(..) | CallFault::Broken(_) => TrackReport::Unreachable(fault.to_string()),
    }
}

/// What the answer to a call with a caveat means for that caveat (rule E13 (1)).
pub fn probe_answer<M>(answer: &Result<M, CallFault>) -> ProbeAnswer {
    match answer {
        Ok(_) => ProbeAnswer::NotYet,
        Err(CallFault::Broken(_)) => ProbeAnswer::Unreachable,
        Err(CallFault::Status(code, text)) => {
            let expired = text.contains(CAVEAT) && text.ends_with(EXPIRED);
            if *code == Code::Unknown && expired {
                ProbeAnswer::Expired
            } else {
                ProbeAnswer::Unreachable
            }
        }
    }
}

/// lnd's failure reason in the port's words. A number that we do not know is `Unknown`.
pub fn failure_reason(reason: i32) -> FailureReason {
    match PaymentFailureReason::try_from(reason) {
        Ok(PaymentFailureReason::FailureReasonNone) | Err(_) => FailureReason::Unknown,
        Ok(PaymentFailureReason::FailureReasonTimeout) => FailureReason::Timeout,
        Ok(PaymentFailureReason::FailureReasonNoRoute) => FailureReason::NoRoute,
        Ok(PaymentFailureReason::FailureReasonError) => FailureReason::Error,
        Ok(PaymentFailureReason::FailureReasonIncorrectPaymentDetails) => {
            FailureReason::IncorrectPaymentDetails
        }
        Ok(PaymentFailureReason::FailureReasonInsufficientBalance) => {
            FailureReason::InsufficientBalance
        }
        Ok(PaymentFailureReason::FailureReasonCanceled) => FailureReason::Canceled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str =
        "caveat \"time-before 2026-01-01T00:00:00.000Z\" not satisfied: macaroon has expired";

    fn status(code: Code, text: &str) -> CallFault {
        CallFault::Status(code, text.to_owned())
    }

    /// What `SendPaymentV2` answered means; `None` is unknown.
    fn check(code: Code, text: &str, expected: Option<Refused>) {
        let lost = SendEnd::Lost(format!("{code:?}: {text}"));
        let end = send_end(&status(code, text));
        assert_eq!(end, expected.map_or(lost, SendEnd::Refused), "{code:?} {text}");
    }

    #[test]
    #[rustfmt::skip] // A table: lnd's text and what it means.
    fn a_known_refusal_accounts_for_a_send() {
        for text in [
            "invoice is already paid", "payment is in transition", "payment already exists",
            "failed to initialize payment: payment is not initializable: invoice is already paid",
        ] {
            check(Code::AlreadyExists, text, Some(Refused::AlreadyExists));
        }
        let wrapped = format!("verification failed: {REFUSED}");
        let no_key = format!("{NO_ROOT_KEY}7 doesn't exist");
        let amp = format!("{AMP} to pay an AMP invoice");
        for (text, refused) in [
            ("invoice expired. Valid until 2026-01-01 00:00:00 +0000 UTC", Refused::InvoiceExpired),
            (REFUSED, Refused::MacaroonExpired),
            (wrapped.as_str(), Refused::MacaroonExpired),
            (no_key.as_str(), Refused::MacaroonExpired),
            ("self-payments not allowed", Refused::SelfPayment),
            ("amount must be specified when paying a zero amount invoice", Refused::Invalid),
            (AMOUNT_TWICE, Refused::Invalid),
            (NO_ADDRESS, Refused::Invalid),
            (amp.as_str(), Refused::Invalid),
            ("total time lock of 9999 exceeds max allowed 2016", Refused::Invalid),
            ("cltv limit 10 should be greater than 83", Refused::Invalid),
            ("invalid invoice signature", Refused::Invalid),
            ("invalid bech32 string length 7", Refused::Invalid),
            ("checksum failed. Expected jvufhy, got t97xts.", Refused::Invalid),
            ("invoice not for current active network 'regtest'", Refused::Invalid),
            ("invoice contains unknown feature bits: 99", Refused::Invalid),
        ] {
            check(Code::Unknown, text, Some(refused));
            check(Code::Internal, text, None);
        }
    }

    #[test]
    #[rustfmt::skip] // A table: lnd's code and text.
    fn everything_else_is_unknown_not_failed() {
        for (code, text) in [
            (Code::Unknown, "invoice is already paid"),
            (Code::Unknown, "payment request says: macaroon has expired"),
            (Code::Unknown, "failed to initialize payment: database is locked"),
            (Code::Unknown, "wallet locked, unlock it to enable full RPC access"),
            (Code::Unknown, "permission denied"),
            (Code::Unknown, ""),
            (Code::NotFound, "payment isn't initiated"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::Unavailable, "transport is closing"),
            (Code::ResourceExhausted, ""),
            (Code::Unimplemented, "unknown service routerrpc.Router"),
        ] {
            check(code, text, None);
        }
        let broken = CallFault::Broken(REFUSED.to_owned());
        assert_eq!(send_end(&broken), SendEnd::Lost(REFUSED.to_owned()));
    }

    #[test]
    fn only_our_own_root_key_can_be_gone() {
        let gone = |code, text: &str| is_root_key_gone(&status(code, text), 7);
        assert!(gone(Code::Unknown, &format!("{NO_ROOT_KEY}7 doesn't exist")));
        assert!(!gone(Code::Unknown, &format!("{NO_ROOT_KEY}77 doesn't exist")));
        assert!(!gone(Code::Internal, &format!("{NO_ROOT_KEY}7 doesn't exist")));
        assert!(!gone(Code::Unknown, "7 doesn't exist"));
    }

    #[test]
    fn only_not_found_means_that_a_hash_is_not_known() {
        let unreachable = |text: &str| TrackReport::Unreachable(text.to_owned());
        let broken = CallFault::Broken("reset".to_owned());
        assert_eq!(track_end(&broken), unreachable("reset"));
        let not_found = status(Code::NotFound, "payment isn't initiated");
        assert_eq!(track_end(&not_found), TrackReport::NotFound);
        let unknown = status(Code::Unknown, "payment isn't initiated");
        assert_eq!(track_end(&unknown), unreachable("Unknown: payment isn't initiated"));
    }

    #[test]
    fn only_lnds_own_words_prove_that_a_caveat_expired() {
        assert_eq!(probe_answer(&Ok(())), ProbeAnswer::NotYet);
        for (fault, expected) in [
            (status(Code::Unknown, REFUSED), ProbeAnswer::Expired),
            (status(Code::Unknown, "macaroon has expired"), ProbeAnswer::Unreachable),
            (status(Code::Internal, REFUSED), ProbeAnswer::Unreachable),
            (status(Code::Unknown, "permission denied"), ProbeAnswer::Unreachable),
            (CallFault::Broken(REFUSED.to_owned()), ProbeAnswer::Unreachable),
        ] {
            assert_eq!(probe_answer::<()>(&Err(fault.clone())), expected, "{fault}");
        }
    }

    #[test]
    fn every_failure_reason_has_its_word() {
        let words = [
            (0, FailureReason::Unknown),
            (1, FailureReason::Timeout),
            (2, FailureReason::NoRoute),
            (3, FailureReason::Error),
            (4, FailureReason::IncorrectPaymentDetails),
            (5, FailureReason::InsufficientBalance),
            (6, FailureReason::Canceled),
            (7, FailureReason::Unknown),
        ];
        for (number, word) in words {
            assert_eq!(failure_reason(number), word, "{number}");
        }
    }
}
