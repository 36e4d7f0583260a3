//! What opening many damaged journals came to.

use crate::{
    content::{Outcome, kind_of_refusal},
    report::{Counts, Page},
};

/// It does not open.
pub const REFUSED: &str = "refused to open";
/// It opened, and whoever reads the damaged part is told.
pub const DETECTED: &str = "opened, damage is reported by readers";

/// What was said of damage, and what was not.
#[derive(Debug, Default)]
pub struct Verdicts {
    said: Counts,
    silent: Vec<String>,
}

impl Verdicts {
    /// Takes an outcome; returns its name: [`REFUSED`], [`DETECTED`], or the caller's for the same
    /// content and for silent damage. `place` says where that was.
    pub fn take(
        &mut self,
        outcome: Outcome,
        [same, silent]: [&'static str; 2],
        place: impl FnOnce() -> String,
    ) -> &'static str {
        match outcome {
            Outcome::Same { .. } => same,
            Outcome::Refused(why) => {
                self.said.add(kind_of_refusal(&why));
                REFUSED
            }
            Outcome::Detected(what) => {
                self.said.add(kind_of_refusal(&what));
                DETECTED
            }
            Outcome::Silent(what) => {
                self.silent.push(format!("{}: {what}", place()));
                silent
            }
        }
    }

    /// Adds what was said as a table of this name, and what was not as wrong.
    pub fn show(self, page: &mut Page, table: &str) {
        page.table(table, self.said);
        self.silent.iter().for_each(|what| page.wrong(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_name_and_silent_damage_is_wrong() {
        let mut verdicts = Verdicts::default();
        let mut take = |outcome| verdicts.take(outcome, ["same", "silent"], || "byte 7".to_owned());
        assert_eq!(take(Outcome::Same { last: 3, removed: 0 }), "same");
        assert_eq!(take(Outcome::Refused("record 12 is torn".into())), REFUSED);
        assert_eq!(take(Outcome::Detected("record 13 is torn".into())), DETECTED);
        let mut page = Page::new("page");
        verdicts.show(&mut page, "said");
        assert_eq!((page.count("said", "record N is torn"), page.is_clean()), (2, true));
        let mut verdicts = Verdicts::default();
        let silent = Outcome::Silent("another event".into());
        let taken = verdicts.take(silent, ["same", "silent"], || "byte 7".to_owned());
        verdicts.show(&mut page, "said");
        assert_eq!((taken, page.is_clean()), ("silent", false));
        assert!(page.text().contains("byte 7: another event"), "{}", page.text());
    }
}
