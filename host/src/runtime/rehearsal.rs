//! A chain tried outside of any flow, with one of its modules replaced: as its flow would run it, record by record.

use std::sync::Arc;

use super::contract::Field;
use super::instance::Instance;
use super::step::Instances;
use super::transform::transform;
use super::trial::{Made, Ran, Tried};
use super::{Chain, Module, Runtime, Step};
use crate::outcome::Output;
use crate::record::{Slice, decode_headers};

/// A chain with its instances.
pub struct Rehearsal {
    runtime: Arc<Runtime>,
    chain: Arc<Chain>,
    /// By step.
    kept: Vec<Option<Instance>>,
}

impl Chain {
    /// The same chain with another module in the place of the one that has its name; none where there is no such module.
    pub fn with(&self, module: &Arc<Module>) -> Option<Chain> {
        let place = self.steps.iter().position(|step| step.module.name == module.name)?;
        let step = |(index, step): (usize, &Step)| {
            let module = if index == place { module } else { &step.module };
            let targets = module.manifest.targets.iter().cloned().map(Arc::new).collect();
            Step { module: module.clone(), targets }
        };
        let steps: Vec<Step> = self.steps.iter().enumerate().map(step).collect();
        let digests: Vec<&str> = steps.iter().map(|step| &*step.module.digest).collect();
        let (flow, digest) = (self.flow.clone(), digests.join("+").into());
        Some(Chain { flow, digest, steps, limits: self.limits.clone(), config: self.config.clone() })
    }
}

impl Rehearsal {
    /// Starts every module of the chain. The error says which does not start, and why.
    pub fn new(runtime: &Arc<Runtime>, chain: Chain) -> Result<Rehearsal, String> {
        let chain = Arc::new(chain);
        let kept = chain.steps.iter().enumerate().map(|(index, step)| {
            step.module.code.shared.keep_lines();
            let started = runtime.instance(&chain, index);
            started.map(Some).map_err(|cause| format!("{} does not start: {cause}", step.module.name))
        });
        let kept = kept.collect::<Result<_, _>>()?;
        Ok(Rehearsal { runtime: runtime.clone(), chain, kept })
    }

    /// Runs the chain over one record. Beside each output stands its path, as ids of outputs end with it.
    pub fn run(&mut self, slice: &Slice) -> (Ran, Vec<String>) {
        let chain = self.chain.clone();
        let begun = std::time::Instant::now();
        let transformed = transform(self, &chain, slice);
        let time = begun.elapsed();
        let ruling = transformed.verdicts.into_iter().next().map(|verdict| verdict.ruling);
        let paths = transformed.outputs.iter().map(|output| output.path.to_string()).collect();
        let outputs = transformed.outputs.into_iter().map(made).collect();
        let lines = chain.steps.iter().flat_map(|step| step.module.code.shared.kept_lines()).collect();
        (Ran { records: vec![Tried { outputs, ruling }], lines, time }, paths)
    }
}

fn made(output: Output) -> Made {
    let to = format!("{}:{}", output.target.sink, output.destination());
    let field = |bytes: Option<bytes::Bytes>| bytes.map_or(Field::Null, Field::Data);
    let owned = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
    let headers = decode_headers(output.headers.count, &output.headers.encoded);
    let headers = headers.filter(|headers| !headers.is_empty()).map(|all| all.into_iter().map(owned).collect());
    let Output { operation, key, value, partition, .. } = output;
    // Outside of Kafka an output without a key has none to show.
    let key = if key.is_none() && output.target.sink != "kafka" { Field::Unchanged } else { field(key) };
    Made { to, operation, key, value: field(value), headers, timestamp: None, partition }
}

impl Instances for Rehearsal {
    fn take(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        self.kept[step].take().map_or_else(|| self.runtime.instance(chain, step), Ok)
    }

    fn keep(&mut self, _chain: &Arc<Chain>, step: usize, instance: Instance) {
        if !instance.worn() {
            self.kept[step] = Some(instance);
        }
    }

    fn metered(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        self.runtime.metered_instance(chain, step)
    }
}
