//! A module tried on records outside of any flow: the same call, limits and search as in a flow, and what it cost.
//! Log lines are handed back instead of logged; metrics go nowhere that anybody looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::Level;

use super::contract::Field;
use super::instance::Instance;
use super::reply::Emitted;
use super::step::{self, Instances};
use super::{Chain, Module, Runtime};
use crate::config::Limits;
use crate::outcome::{Operation, Ruling};
use crate::record::{Slice, decode_headers};

/// A module with variables and limits, ready for records.
pub struct Trial {
    runtime: Arc<Runtime>,
    chain: Arc<Chain>,
    kept: Option<Instance>,
}

/// What became of the records of one slice.
#[derive(Debug)]
pub struct Ran {
    /// One per record, in order.
    pub records: Vec<Tried>,
    /// What the module logged, in order.
    pub lines: Vec<(Level, String)>,
    /// The call, with the search for records that spoil it; without the start of the instance.
    pub time: Duration,
}

/// What became of one record: outputs or a ruling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub outputs: Vec<Made>,
    pub ruling: Option<Ruling>,
}

/// An output as the module made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// `sink:name` in full, or `next`.
    pub to: String,
    pub operation: Operation,
    pub key: Field,
    pub value: Field,
    /// `None`: the input record's.
    pub headers: Option<Vec<(String, Option<Vec<u8>>)>>,
    /// `None`: the input record's.
    pub timestamp: Option<i64>,
    pub partition: Option<i32>,
}

/// What a call takes on the engine that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// About one unit per instruction.
    pub fuel: u64,
    /// Linear memory in bytes, with what the instance has from its start.
    pub memory: usize,
}

impl Trial {
    /// Starts the module with these variables. The error says why it does not start.
    pub fn new(
        runtime: &Arc<Runtime>,
        module: &Arc<Module>,
        vars: &BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Trial, String> {
        let config = serde_json::json!({ "vars": vars }).to_string();
        let chain = Arc::new(Chain::alone(module, limits, config));
        module.code.shared.keep_lines();
        let kept = Some(runtime.instance(&chain, 0)?);
        Ok(Trial { runtime: runtime.clone(), chain, kept })
    }

    /// Runs the module over the records of a slice, which is one call where none of them spoils it.
    pub fn run(&mut self, slice: &Slice) -> Ran {
        if self.kept.is_none() {
            // An instance that does not start is told by the call below.
            self.kept = self.runtime.instance(&self.chain, 0).ok();
        }
        let chain = self.chain.clone();
        let begun = Instant::now();
        let stepped = step::run(self, &chain, 0, slice);
        let time = begun.elapsed();
        let mut records: Vec<Tried> = (0..slice.len()).map(|_| Tried { outputs: Vec::new(), ruling: None }).collect();
        for (record, ruling) in stepped.rulings {
            records[record].ruling = Some(ruling);
        }
        for step::Called { bytes, outputs } in stepped.calls {
            outputs.iter().for_each(|output| records[output.source as usize].outputs.push(self.made(output, &bytes)));
        }
        Ran { records, lines: self.chain.steps[0].module.code.shared.kept_lines(), time }
    }

    /// The next run is on a new instance.
    pub fn renew(&mut self) {
        self.kept = None;
    }

    /// Compiles what counts fuel now, so that it is no part of a record's time.
    pub fn warm(&self) {
        drop(self.runtime.metered_instance(&self.chain, 0));
    }

    /// What a new instance takes for this slice, whatever comes out.
    pub fn cost(&self, slice: &Slice) -> Option<Cost> {
        let mut instance = self.runtime.metered_instance(&self.chain, 0).ok()?;
        // How it ends is known already; here only the fuel counts.
        drop(instance.call(slice, &self.chain.limits, Duration::MAX));
        instance.effects().discard();
        Some(Cost { fuel: instance.spent()?, memory: instance.memory() })
    }

    fn made(&self, output: &Emitted, bytes: &Bytes) -> Made {
        let target = &self.chain.steps[0].targets[output.target as usize];
        let suffix = output.suffix(bytes).unwrap_or_default();
        let to = match target.sink.as_str() {
            "next" => "next".to_owned(),
            sink => format!("{sink}:{}{suffix}", target.prefix().unwrap_or(&target.name)),
        };
        let owned = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
        let headers = output.headers(bytes).and_then(|headers| {
            Some(decode_headers(headers.count, &headers.encoded)?.into_iter().map(owned).collect())
        });
        let (key, value) = (output.key.field(bytes), output.value.field(bytes));
        let Emitted { operation, timestamp, partition, .. } = *output;
        Made { to, operation, key, value, headers, timestamp, partition }
    }
}

impl Instances for Trial {
    fn take(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        self.kept.take().map_or_else(|| self.runtime.instance(chain, step), Ok)
    }

    fn keep(&mut self, _chain: &Arc<Chain>, _step: usize, instance: Instance) {
        if !instance.worn() {
            self.kept = Some(instance);
        }
    }

    fn metered(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        self.runtime.metered_instance(chain, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SliceBuilder;
    use crate::runtime::tests::{module, runtime};

    fn one(value: &str) -> Slice {
        let mut slice = SliceBuilder::new("t".into(), 0);
        slice.push(0, -1, None, Some(value.as_bytes()), std::iter::empty());
        slice.build()
    }

    #[test]
    fn a_trial_tells_outputs_lines_and_what_they_cost() {
        let module = module!("hostile");
        let limits = Limits::default();
        let mut trial = Trial::new(&runtime(), &module, &BTreeMap::new(), &limits).expect("it starts");
        let ran = trial.run(&one("fine"));
        let to: Vec<&str> = ran.records[0].outputs.iter().map(|output| output.to.as_str()).collect();
        assert_eq!(to, ["kafka:hostile_out", "postgres:hostile_ok"]);
        assert_eq!(ran.records[0].outputs[0].value, Field::Unchanged);
        let cost = trial.cost(&one("fine")).expect("it is counted");
        assert!(cost.fuel > 100 && cost.fuel < limits.fuel && cost.memory >= 64 << 10, "{cost:?}");
        let ran = trial.run(&one("log"));
        assert_eq!((ran.lines[0].0, ran.lines[0].1.as_str()), (Level::INFO, "line 0"));
        assert!(
            matches!(&trial.run(&one("undeclared")).records[0].ruling, Some(Ruling::Dead { code, .. }) if code.as_str() == "unknown-target")
        );
    }
}
