//! A flag for each option of a batch.

use clap::{Args, ValueEnum};
use fulgurite_proto::fulgurite::v1 as proto;

use super::{exit::Fault, input};

/// The options that batches and single payments have; what is not given is the engine's default.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "How it is paid (default: as the engine is configured)")]
pub struct OptionArgs {
    /// Accepts and pays nothing before `batch resume`.
    #[arg(long = "paused")]
    pub start_paused: bool,
    /// Which batch goes first when the nodes are busy.
    #[arg(long, value_enum)]
    pub priority: Option<PriorityArg>,
    /// The most payments in flight at once.
    #[arg(long, value_name = "N")]
    pub in_flight_max: Option<i32>,
    /// The most attempts that start in a second; 0 is no limit.
    #[arg(long, value_name = "N")]
    pub payments_per_second_max: Option<i32>,
    /// The most payments in flight to one payee; 0 is no limit.
    #[arg(long, value_name = "N")]
    pub per_destination_in_flight_max: Option<i32>,
    /// Pauses the batch when so many payments failed; 0 is never.
    #[arg(long, value_name = "N")]
    pub failed_count_max: Option<i32>,
    /// Pauses the batch when so many percent of its final payments failed; 0 is never.
    #[arg(long, value_name = "PERCENT")]
    pub failed_percent_max: Option<i32>,
    /// What a payment may pay in fees whatever its amount, in millisatoshi.
    #[arg(long, value_name = "MSAT", requires = "fee_proportional_ppm")]
    pub fee_base_msat: Option<i64>,
    /// What a payment may pay in fees on top, in millionths of its amount.
    #[arg(long, value_name = "PPM", requires = "fee_base_msat")]
    pub fee_proportional_ppm: Option<i32>,
    /// The most attempts for a payment.
    #[arg(long, value_name = "N")]
    pub attempts_max: Option<i32>,
    /// The most blocks that a payment may be locked for.
    #[arg(long, value_name = "BLOCKS")]
    pub cltv_limit_blocks: Option<i32>,
}

/// Which batch goes first.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PriorityArg {
    /// After the others.
    Low,
    /// In between.
    Normal,
    /// Before the others.
    High,
}

impl OptionArgs {
    /// The options on the wire; what was not given is unset.
    pub fn to_proto(&self) -> proto::BatchOptions {
        let priority = match self.priority {
            None => proto::batch_options::Priority::Unspecified,
            Some(PriorityArg::Low) => proto::batch_options::Priority::Low,
            Some(PriorityArg::Normal) => proto::batch_options::Priority::Normal,
            Some(PriorityArg::High) => proto::batch_options::Priority::High,
        };
        let fee_policy = self.fee_base_msat.zip(self.fee_proportional_ppm);
        proto::BatchOptions {
            start_paused: self.start_paused.then_some(true),
            accept_valid: None,
            priority: priority.into(),
            in_flight_max: self.in_flight_max,
            payments_per_second_max: self.payments_per_second_max,
            per_destination_in_flight_max: self.per_destination_in_flight_max,
            failed_count_max: self.failed_count_max,
            failed_percent_max: self.failed_percent_max,
            fee_policy: fee_policy.map(|(base_msat, proportional_ppm)| proto::FeePolicy {
                base_msat,
                proportional_ppm,
            }),
            deadline: None,
            attempts_max: self.attempts_max,
            cltv_limit_blocks: self.cltv_limit_blocks,
        }
    }
}

/// Reads the value of `--deadline`.
///
/// # Errors
/// [`Fault::Usage`] for what is no time.
pub fn deadline(text: Option<&str>) -> Result<Option<prost_types::Timestamp>, Fault> {
    let read = |text| input::timestamp(text);
    text.map(read).transpose().map_err(|message| Fault::Usage(format!("--deadline: {message}")))
}
