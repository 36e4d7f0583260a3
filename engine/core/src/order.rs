//! What was asked: the order for one payment, and the options of a batch of them.

use std::sync::Arc;

use crate::{
    amount::{FeePolicy, Msat},
    id::{BatchId, PaymentHash},
    time::UnixMs,
};

/// What a client wrote (reference, description, metadata): the one field type that can later be
/// encrypted per person before it is hashed, so that erasing a key erases the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The key that it is encrypted with; 0 means plain UTF-8.
    pub key_id: u32,
    /// The text, or its ciphertext.
    pub bytes: Arc<[u8]>,
}

impl Sealed {
    /// A text that is not encrypted.
    pub fn plain(text: &str) -> Sealed {
        Sealed { key_id: 0, bytes: text.as_bytes().into() }
    }

    /// The text, or `None` when it is encrypted or its key was erased.
    pub fn text(&self) -> Option<&str> {
        if self.key_id == 0 { std::str::from_utf8(&self.bytes).ok() } else { None }
    }
}

/// One order: already checked, every value effective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The BOLT 11 invoice, in lower case.
    pub invoice: Arc<str>,
    /// The invoice's payment hash.
    pub payment_hash: PaymentHash,
    /// The invoice's payee, 33 bytes; `None` when the node checks signatures.
    pub payee: Option<[u8; 33]>,
    /// What will be paid, without fees.
    pub amount: Msat,
    /// True when the invoice has no amount, so that the send must carry it.
    pub amount_in_send: bool,
    /// The most that may be paid in fees.
    pub fee_limit: Msat,
    /// When the invoice expires.
    pub invoice_expiry: UnixMs,
    /// No attempt starts after it.
    pub deadline: Option<UnixMs>,
    /// The client's own name for it.
    pub reference: Option<Sealed>,
}

/// Which batch goes first when nodes are busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// After the others.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl Priority {
    /// All of them, the highest first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// Its place among [`Priority::ALL`].
    pub const fn lane(self) -> usize {
        match self {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        }
    }
}

/// The options of a batch, every value effective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Accepted, but nothing is paid before it is resumed.
    pub start_paused: bool,
    /// Bad rows are refused and the others accepted.
    pub accept_valid: bool,
    /// Which batch goes first.
    pub priority: Priority,
    /// The most payments in flight at once; at least 1.
    pub in_flight_max: u32,
    /// The most attempts that start in a second; 0 means no limit.
    pub payments_per_second_max: u32,
    /// The most payments in flight to one payee; 0 means no limit.
    pub per_destination_in_flight_max: u32,
    /// The batch pauses when this many payments failed; 0 means never.
    pub failed_count_max: u32,
    /// The batch pauses when this share of the final payments failed; 0 means never.
    pub failed_percent_max: u32,
    /// What a payment without a limit of its own may pay in fees.
    pub fee_policy: FeePolicy,
    /// No attempt starts after it.
    pub deadline: Option<UnixMs>,
    /// The most attempts per payment, 1 to 100.
    pub attempts_max: u16,
    /// `cltv_limit` of every send, in blocks.
    pub cltv_limit_blocks: u32,
}

impl Default for BatchOptions {
    /// What a batch has whose client and configuration say nothing else.
    fn default() -> BatchOptions {
        BatchOptions {
            start_paused: false,
            accept_valid: false,
            priority: Priority::Normal,
            in_flight_max: 10_000,
            payments_per_second_max: 0,
            per_destination_in_flight_max: 0,
            failed_count_max: 0,
            failed_percent_max: 0,
            fee_policy: FeePolicy { base: Msat::from_sat_clamped(10), proportional_ppm: 5_000 },
            deadline: None,
            attempts_max: 5,
            cltv_limit_blocks: 1_008,
        }
    }
}

/// Why a row was refused at the door (API.md 2, `RefusedRow.Reason`, same numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the contract's own and explained there")]
pub enum RowReason {
    Malformed = 1,
    UnsupportedDestination = 2,
    WrongNetwork = 3,
    BadChecksum = 4,
    BadSignature = 5,
    Expired = 6,
    ExpiresTooSoon = 7,
    AmountMissing = 8,
    AmountConflict = 9,
    AmountAboveLimit = 10,
    BatchAboveLimit = 11,
    FeeLimitTooHigh = 12,
    DuplicateHash = 13,
    DuplicateReference = 14,
    HashClaimed = 15,
    AlreadyPaid = 16,
    OwnInvoice = 17,
    FeatureUnsupported = 18,
    CltvTooLong = 19,
    DeadlinePast = 20,
}

impl RowReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [RowReason; 20] = [
        RowReason::Malformed,
        RowReason::UnsupportedDestination,
        RowReason::WrongNetwork,
        RowReason::BadChecksum,
        RowReason::BadSignature,
        RowReason::Expired,
        RowReason::ExpiresTooSoon,
        RowReason::AmountMissing,
        RowReason::AmountConflict,
        RowReason::AmountAboveLimit,
        RowReason::BatchAboveLimit,
        RowReason::FeeLimitTooHigh,
        RowReason::DuplicateHash,
        RowReason::DuplicateReference,
        RowReason::HashClaimed,
        RowReason::AlreadyPaid,
        RowReason::OwnInvoice,
        RowReason::FeatureUnsupported,
        RowReason::CltvTooLong,
        RowReason::DeadlinePast,
    ];

    /// The reason with this number, 1 to 20.
    pub fn from_number(number: u8) -> Option<RowReason> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// One problem of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The row, from 1.
    pub row: u32,
    /// The client's reference, when it was readable.
    pub reference: Option<Sealed>,
    /// What is wrong.
    pub reason: RowReason,
    /// What is wrong, for a person: where, and what to do.
    pub message: Arc<str>,
    /// The field of the order.
    pub field: &'static str,
    /// The payment that owns the hash, for `HashClaimed` and `AlreadyPaid`.
    pub payment: Option<crate::id::PaymentId>,
    /// The other row, for duplicates within the upload.
    pub other_row: Option<u32>,
}

/// What was accepted with a seal (rule E3): everything about a batch but its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The batch.
    pub batch: BatchId,
    /// Whose it is; `default` until there are accounts.
    pub account: Arc<str>,
    /// The client's key, unique in the account.
    pub idempotency_key: Arc<str>,
    /// SHA-256 over the decoded values that the client set (API.md, I5).
    pub fingerprint: [u8; 32],
    /// The digest of the content that the client named in the header; empty when it named none.
    pub content_digest: Arc<str>,
    /// One payment that came alone.
    pub single: bool,
    /// The options, effective.
    pub options: BatchOptions,
    /// The client's text.
    pub description: Option<Sealed>,
    /// The client's pairs.
    pub metadata: Vec<(Sealed, Sealed)>,
    /// How many rows were sent: accepted and refused.
    pub order_count: u32,
    /// The rows that were refused; only with `accept_valid`.
    pub refused: Vec<RefusedRow>,
    /// The sum of the accepted orders' amounts.
    pub amount: Msat,
    /// The sum of their fee limits.
    pub fee_limit: Msat,
    /// When.
    pub time: UnixMs,
}

impl Accepted {
    /// How many different rows were refused; a row can have several problems.
    pub fn refused_row_count(&self) -> usize {
        let mut rows: Vec<u32> = self.refused.iter().map(|refused| refused.row).collect();
        rows.sort_unstable();
        rows.dedup();
        rows.len()
    }
}
