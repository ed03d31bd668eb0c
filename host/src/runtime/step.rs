//! One module over one slice: the call, the search for the record that spoils it, and the checks of what came back.
//! A record that traps, loops or overgrows costs only itself. Nothing here depends on the order of slices or on the
//! clock, except how long the search takes: verdicts come from a fresh store on the metered engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::contract::Fate;
use super::effects::{LINE_BYTES, clean};
use super::instance::{Fault, Instance};
use super::reply::{Emitted, Failure, Reply};
use super::{Chain, Step};
use crate::manifest::TargetSpec;
use crate::outcome::{Code, Ruling};
use crate::record::Slice;

/// Most records of one call.
pub(super) const CALL_RECORDS: usize = 512;
/// A call is closed when its records reach this size: larger frames fall out of the CPU's cache.
pub(super) const CALL_BYTES: usize = 256 << 10;
/// Reason of records that the module returned nothing for.
pub(super) const NO_OUTPUT: &str = "no output";
/// Part of the time that a small piece of a bisected call still gets.
const SMALLEST_PART: u32 = 16;

/// Where the instances of a step come from: a worker's own, or new ones for a check.
pub(super) trait Instances {
    /// The kept instance, or a new one.
    fn take(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String>;
    /// Keeps an instance after a call without fault.
    fn keep(&mut self, chain: &Arc<Chain>, step: usize, instance: Instance);
    /// An instance on the metered engine; never kept.
    fn metered(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String>;
}

/// What a step made of a slice.
#[derive(Debug, Default)]
pub(super) struct Stepped {
    /// Outputs of records without ruling, ascending by source, call by call.
    pub(super) calls: Vec<Called>,
    /// The records that something was ruled on, and what; ascending.
    pub(super) rulings: Vec<(usize, Ruling)>,
    pub(super) slow: u32,
    pub(super) traps: u32,
}

/// The outputs of one call.
#[derive(Debug)]
pub(super) struct Called {
    /// What their places refer to.
    pub(super) bytes: Bytes,
    /// Sources are records of the slice.
    pub(super) outputs: Vec<Emitted>,
}

impl Stepped {
    /// How many outputs there are.
    pub(super) fn outputs(&self) -> usize {
        self.calls.iter().map(|called| called.outputs.len()).sum()
    }
}

/// Runs step number `step` of a chain over a slice.
pub(super) fn run(instances: &mut dyn Instances, chain: &Arc<Chain>, step: usize, slice: &Slice) -> Stepped {
    let (reason, made) = ((NO_OUTPUT.to_owned(), NO_OUTPUT.into()), Stepped::default());
    let mut run = Run { instances, chain, step, slice, reason, made };
    for (from, to) in run.cuts() {
        run.bisect(from, to);
    }
    run.made.rulings.sort_by_key(|(index, _)| *index);
    run.made
}

struct Run<'a> {
    instances: &'a mut dyn Instances,
    chain: &'a Arc<Chain>,
    step: usize,
    slice: &'a Slice,
    /// The reason seen last, as the module gave it and cleaned: most records of a slice are skipped for the same one.
    reason: (String, Arc<str>),
    made: Stepped,
}

impl Run<'_> {
    /// The ranges that go into one call each. Records above the limit are ruled on here and are in none.
    fn cuts(&mut self) -> Vec<(usize, usize)> {
        let limit = self.chain.limits.record.bytes();
        // Slices from the source are cut already; only what is well above is cut again.
        let tidy = self.slice.len() <= CALL_RECORDS && self.slice.frame().len() <= 2 * CALL_BYTES;
        let (mut cuts, mut from, mut bytes) = (Vec::new(), 0, 0);
        for index in 0..self.slice.len() {
            let size = self.slice.size(index);
            if size > limit {
                cuts.push((from, index));
                (from, bytes) = (index + 1, 0);
                let message = format!("the record has {size} bytes, the limit `record` is {limit}");
                self.rule(index, dead(Code::TOO_LARGE, message));
                continue;
            }
            bytes += size;
            if !tidy && (index + 1 - from >= CALL_RECORDS || bytes >= CALL_BYTES) {
                cuts.push((from, index + 1));
                (from, bytes) = (index + 1, 0);
            }
        }
        cuts.push((from, self.slice.len()));
        cuts.retain(|(from, to)| from < to);
        cuts
    }

    /// Calls with a range; after a fault with its halves on fresh stores, down to the record.
    fn bisect(&mut self, from: usize, to: usize) {
        let time = self.chain.limits.time_per_record.0;
        let mut ranges = vec![(from, to)];
        while let Some((first, last)) = ranges.pop() {
            let part = match (first, last) == (0, self.slice.len()) {
                true => self.slice.clone(),
                false => self.slice.part(first, last),
            };
            let fault = match self.call(&part, piece_of(time, last - first, to - from)) {
                Ok(reply) => {
                    self.absorb(reply, first, last);
                    continue;
                }
                Err(Trouble::Environment(message)) => {
                    (first..last).for_each(|index| self.rule(index, Ruling::Retry { message: message.clone() }));
                    continue;
                }
                Err(Trouble::Fault(fault)) => fault,
            };
            self.made.traps += 1;
            if last - first == 1 {
                self.judge(&part, first, fault == Fault::Deadline);
            } else {
                let middle = first + (last - first) / 2;
                ranges.extend([(middle, last), (first, middle)]);
            }
        }
    }

    fn call(&mut self, part: &Slice, time: Duration) -> Result<Reply, Trouble> {
        let mut instance = self.instances.take(self.chain, self.step).map_err(|m| self.environment(&m))?;
        let begun = Instant::now();
        let called = instance.call(part, &self.chain.limits, time);
        instance.effects().took(begun.elapsed());
        let reply = called.and_then(|reply| checked(reply, part.len(), self.targets())).map_err(Trouble::Fault)?;
        instance.effects().commit();
        self.instances.keep(self.chain, self.step, instance);
        Ok(reply)
    }

    /// The verdict on one record: the metered engine and a fresh store decide, so that a replay agrees.
    fn judge(&mut self, part: &Slice, index: usize, late: bool) {
        let mut instance = match self.instances.metered(self.chain, self.step) {
            Ok(instance) => instance,
            Err(message) => {
                let Trouble::Environment(message) = self.environment(&message) else { return };
                return self.rule(index, Ruling::Retry { message });
            }
        };
        let called = instance.call(part, &self.chain.limits, Duration::MAX);
        match called.and_then(|reply| checked(reply, 1, self.targets())) {
            Ok(reply) => {
                instance.effects().commit();
                self.made.slow += u32::from(late);
                self.absorb(reply, index, index + 1);
            }
            Err(fault) => {
                instance.effects().commit_lines();
                let ruling = self.ruling_of(fault, part);
                self.rule(index, ruling);
            }
        }
    }

    fn ruling_of(&self, fault: Fault, part: &Slice) -> Ruling {
        let limits = &self.chain.limits;
        let at = format!("{}[{}]@{}", part.topic, part.partition, part.offset(0));
        match fault {
            Fault::Fuel | Fault::Deadline => {
                dead(Code::DEADLINE, format!("{at}: the module did not finish within {} units of fuel", limits.fuel))
            }
            Fault::Memory => dead(
                Code::MEMORY,
                format!("{at}: the module needs more than {} bytes of memory", limits.memory.bytes()),
            ),
            Fault::TooMuchOutput => dead(
                Code::OUTPUT_LIMIT,
                format!("{at}: the outputs are larger than {} bytes", limits.output_bytes.bytes()),
            ),
            Fault::Trap(message) => dead(Code::TRAP, format!("{at}: the module trapped: {message}")),
            Fault::Malformed(message) => dead(Code::TRAP, format!("{at}: the outcome breaks the contract: {message}")),
        }
    }

    /// Takes over a checked reply for the records `from..to`, record by record.
    fn absorb(&mut self, reply: Reply, from: usize, to: usize) {
        let Reply { bytes, mut outputs, failures } = reply;
        let mut failures = failures.into_iter().peekable();
        // Outputs that stay move to the front, over those that do not.
        let (mut next, mut kept) = (0, 0);
        for index in from..to {
            let source = (index - from) as u32;
            let first = kept;
            let (mut count, mut size) = (0u32, 0usize);
            let mut ruling = None;
            while let Some(output) = outputs.get(next).filter(|output| output.source == source).copied() {
                next += 1;
                count = count.saturating_add(1);
                size = size.saturating_add(output.bytes());
                ruling = ruling.or_else(|| self.refuse(&output, &bytes, index, count, size));
                if ruling.is_none() {
                    outputs[kept] = Emitted { source: index as u32, ..output };
                    kept += 1;
                }
            }
            let mut failed = None;
            while let Some(failure) = failures.next_if(|f| f.source == source) {
                failed = failed.or_else(|| Some(self.fate(failure, &bytes)));
            }
            // The module's own word goes before what the host found.
            ruling = failed.or(ruling);
            if count == 0 && ruling.is_none() {
                ruling = Some(Ruling::Skip { reason: self.reason(NO_OUTPUT) });
            }
            if let Some(ruling) = ruling {
                kept = first;
                self.rule(index, ruling);
            }
        }
        outputs.truncate(kept);
        self.made.calls.push(Called { bytes, outputs });
    }

    /// Why an output cannot be taken, if so. Counts include this output.
    fn refuse(&self, output: &Emitted, bytes: &[u8], index: usize, count: u32, size: usize) -> Option<Ruling> {
        let limits = &self.chain.limits;
        if count > limits.outputs {
            return Some(dead(Code::OUTPUT_LIMIT, format!("more than {} outputs for one record", limits.outputs)));
        }
        let most = limits.output_bytes.bytes().max(2 * self.slice.size(index));
        if size > most {
            return Some(dead(Code::OUTPUT_LIMIT, format!("more than {most} bytes of outputs for one record")));
        }
        let target = self.targets().get(output.target as usize);
        let suffix = output.suffix(bytes).unwrap_or_default();
        match target {
            Some(target) if target.prefix().is_some() && suffix.is_empty() => {
                Some(self.unknown(&format!("target {} needs the rest of its name", target.label())))
            }
            Some(target) if target.sink == "next" && self.step + 1 == self.chain.steps.len() => {
                Some(self.unknown("target next: this is the last module of its chain"))
            }
            Some(_) => None,
            None if suffix.is_empty() => Some(self.unknown(&format!("target number {}", output.target))),
            None => Some(self.unknown(&format!("target {suffix}"))),
        }
    }

    fn unknown(&self, what: &str) -> Ruling {
        let declared: Vec<String> = self.targets().iter().map(|target| target.label()).collect();
        dead(Code::UNKNOWN_TARGET, format!("{what} is not declared; declared: {}", declared.join(", ")))
    }

    fn fate(&mut self, failure: Failure, bytes: &[u8]) -> Ruling {
        let message = failure.message.text(bytes);
        match failure.fate {
            Fate::Skip => Ruling::Skip { reason: self.reason(message) },
            Fate::Reject => dead(Code::REJECT, message),
            Fate::Retry => Ruling::Retry { message: clean(message, LINE_BYTES) },
            Fate::Fatal => Ruling::Fatal { message: clean(message, LINE_BYTES) },
        }
    }

    fn reason(&mut self, given: &str) -> Arc<str> {
        if self.reason.0 != given {
            self.reason = (given.to_owned(), clean(given, LINE_BYTES).into());
        }
        self.reason.1.clone()
    }

    fn rule(&mut self, index: usize, ruling: Ruling) {
        self.made.rulings.push((index, ruling));
    }

    fn environment(&self, message: &str) -> Trouble {
        let module = &self.this().module.name;
        Trouble::Environment(clean(&format!("module {module} cannot be started: {message}"), LINE_BYTES))
    }

    fn this(&self) -> &Step {
        &self.chain.steps[self.step]
    }

    fn targets(&self) -> &[Arc<TargetSpec>] {
        &self.this().targets
    }
}

enum Trouble {
    /// The module cannot be started at all: no record is to blame.
    Environment(String),
    Fault(Fault),
}

/// The rules of the contract that hold for the whole outcome: one broken, and nothing of it can be trusted.
fn checked(reply: Reply, records: usize, targets: &[Arc<TargetSpec>]) -> Result<Reply, Fault> {
    let ascending = reply.outputs.is_sorted_by_key(|o| o.source) && reply.failures.is_sorted_by_key(|f| f.source);
    let highest = reply.outputs.last().map(|o| o.source).max(reply.failures.last().map(|f| f.source));
    let wrong = match highest {
        _ if !ascending => Some("its items do not ascend by source".to_owned()),
        Some(source) if source as usize >= records => {
            Some(format!("source {source} was named in a call with {records} records"))
        }
        _ => reply.outputs.iter().find_map(|output| {
            let target = targets.get(output.target as usize).filter(|_| output.suffix.is_some())?;
            target.prefix().is_none().then(|| format!("target {} takes no suffix", target.label()))
        }),
    };
    wrong.map_or(Ok(reply), |message| Err(Fault::Malformed(message)))
}

/// The time of a piece of a bisected call. Whole calls and single records get all of it, so that no record is judged that
/// did not exceed its time alone; the pieces between share it down to a sixteenth, because there a deadline only decides
/// where to look closer: an endless loop among 512 records is found in three to four times the time.
fn piece_of(time: Duration, records: usize, of: usize) -> Duration {
    match records {
        1 => time,
        _ => time.mul_f64(records as f64 / of as f64).max(time / SMALLEST_PART),
    }
}

fn dead(code: Code, message: impl AsRef<str>) -> Ruling {
    Ruling::Dead { code, message: clean(message.as_ref(), LINE_BYTES) }
}
