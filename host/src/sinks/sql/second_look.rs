//! Tables are looked at once, and again where a row does not fit what was seen: perhaps a person has mended them. Rarely,
//! because every row may be wrong.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::value::Fault;
use crate::sinks::SinkError;

/// The least time between two looks of a sink at its tables.
const PAUSE: Duration = Duration::from_secs(10);

/// When a sink has last looked at its tables again.
#[derive(Debug, Default)]
pub struct SecondLook {
    last: Mutex<Option<Instant>>,
}

impl SecondLook {
    /// Whether the plan could be another if the tables were looked at again, and it is time to. Then the caller does.
    pub fn is_due(&self, planned: &Result<Plan, SinkError>) -> bool {
        doubts_tables(planned) && self.is_time(Instant::now())
    }

    fn is_time(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if is_time {
            *last = Some(now);
        }
        is_time
    }
}

/// Whether a table lacks a column or its key. A plan fails for nothing else.
fn doubts_tables(planned: &Result<Plan, SinkError>) -> bool {
    match planned {
        Ok(plan) => plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::NoColumn(_))),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_looked_at_again_rarely_and_for_what_they_lack() {
        let (look, now) = (SecondLook::default(), Instant::now());
        assert_eq!(
            [0, 1, 9, 10, 11].map(|s| look.is_time(now + Duration::from_secs(s))),
            [true, false, false, true, false]
        );
        let faults = |fault| Ok(Plan { faults: vec![(0, fault)], ..Plan::default() });
        assert!(doubts_tables(&faults(Fault::NoColumn("table t has no column \"a\"".into()))));
        assert!(doubts_tables(&Err(SinkError::operator("it has no key"))));
        assert!(!doubts_tables(&faults(Fault::Decode("not a row".into()))) && !doubts_tables(&Ok(Plan::default())));
    }
}
