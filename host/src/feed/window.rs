//! Which records are acknowledged. Acknowledgements of several partitions come in any order; where to go on follows from
//! the records that are acknowledged without a gap. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// The records that are on their way, oldest first.
#[derive(Debug)]
pub struct Window {
    slots: VecDeque<Slot>,
    /// Sequence of the first slot.
    first: usize,
    /// Records that the brokers have.
    pub acknowledged: u64,
    pub outstanding: usize,
    /// Number of the last record before the first gap; none before the first acknowledgement.
    pub number: Option<u64>,
    /// The last mark before the first gap.
    pub mark: Option<Arc<str>>,
    /// When the brokers were last heard of.
    pub heard: Instant,
    /// The first record that they refused, and why.
    pub refused: Option<(u64, String)>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    mark: Option<Arc<str>>,
    done: bool,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            slots: VecDeque::new(),
            first: 0,
            acknowledged: 0,
            outstanding: 0,
            number: None,
            mark: None,
            heard: Instant::now(),
            refused: None,
        }
    }
}

impl Window {
    /// A record is about to be sent; what is returned names it in the report.
    pub fn open(&mut self, number: u64, mark: Option<Arc<str>>) -> usize {
        if self.outstanding == 0 {
            self.heard = Instant::now();
        }
        self.slots.push_back(Slot { number, mark, done: false });
        self.outstanding += 1;
        self.first + self.slots.len() - 1
    }

    /// The record that was opened last was not sent.
    pub fn take_back(&mut self) {
        self.slots.pop_back();
        self.outstanding -= 1;
    }

    /// The brokers' word on a record.
    pub fn close(&mut self, sequence: usize, result: Result<(), String>) {
        let Some(slot) = sequence.checked_sub(self.first).and_then(|index| self.slots.get_mut(index)) else { return };
        self.outstanding -= 1;
        self.heard = Instant::now();
        match result {
            Ok(()) => {
                slot.done = true;
                self.acknowledged += 1;
            }
            Err(why) => {
                let number = slot.number;
                if self.refused.as_ref().is_none_or(|(earlier, _)| *earlier > number) {
                    self.refused = Some((number, why));
                }
            }
        }
        while self.slots.front().is_some_and(|slot| slot.done) {
            let Some(slot) = self.slots.pop_front() else { break };
            self.first += 1;
            self.number = Some(slot.number);
            self.mark = slot.mark.or(self.mark.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_gap_holds_the_place_back_and_a_refusal_for_good() {
        let mut window = Window::default();
        let sent: Vec<usize> = (1..=4).map(|n| window.open(n, (n % 2 == 0).then(|| n.to_string().into()))).collect();
        window.close(sent[1], Ok(()));
        assert_eq!((window.number, window.acknowledged, window.outstanding), (None, 1, 3));
        window.close(sent[0], Ok(()));
        assert_eq!((window.number, window.mark.as_deref()), (Some(2), Some("2")));
        window.close(sent[2], Err("too large".into()));
        window.close(sent[3], Ok(()));
        assert_eq!((window.number, window.acknowledged, window.outstanding), (Some(2), 3, 0));
        assert_eq!(window.refused, Some((3, "too large".into())));
    }

    proptest! {
        #[test]
        fn the_place_is_the_end_of_what_is_acknowledged_without_a_gap(order in Just((0usize..40).collect::<Vec<_>>()).prop_shuffle()) {
            let mut window = Window::default();
            let sent: Vec<usize> = (1..=40).map(|n| window.open(n, None)).collect();
            let mut done = [false; 40];
            for index in order {
                window.close(sent[index], Ok(()));
                done[index] = true;
                let whole = done.iter().take_while(|done| **done).count() as u64;
                prop_assert_eq!(window.number, (whole > 0).then_some(whole));
            }
            prop_assert_eq!((window.acknowledged, window.outstanding), (40, 0));
        }
    }
}
