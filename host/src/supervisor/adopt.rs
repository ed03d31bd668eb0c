//! Which flows are wanted: those of the configuration, and one for each dropped module that none of them names.

use std::collections::BTreeMap;

use super::{Plan, Supervisor, plan, words};
use crate::config::Flow;

impl Supervisor {
    /// Plans by flow, and for the flows that cannot run the reason.
    pub(super) fn wanted(&self) -> (BTreeMap<String, Plan>, BTreeMap<String, String>) {
        let config = &self.process.config;
        let (mut plans, mut refused) = (BTreeMap::new(), BTreeMap::new());
        let module = |stem: &str| self.modules.get(stem).cloned();
        for (name, flow) in &config.flow {
            match plan(config, name, flow, false, module) {
                Ok(plan) => drop(plans.insert(name.clone(), plan)),
                Err(refusal) => drop(refused.insert(name.clone(), words(&refusal))),
            }
        }
        for stem in self.adoptable() {
            match plan(config, stem, &Flow::default(), true, module) {
                Ok(plan) => drop(plans.insert(stem.clone(), plan)),
                Err(refusal) => drop(refused.insert(stem.clone(), words(&refusal))),
            }
        }
        self.refuse_doubles(&mut plans, &mut refused);
        self.refuse_unstartable(&mut plans, &mut refused);
        (plans, refused)
    }

    /// Modules that no flow of the configuration names.
    fn adoptable(&self) -> impl Iterator<Item = &String> {
        let config = &self.process.config;
        let named = |stem: &str| {
            config.flow.iter().any(|(name, flow)| match &flow.modules {
                Some(modules) => modules.iter().any(|module| module == stem),
                None => name == stem,
            })
        };
        let adopt = config.modules.adopt;
        self.modules.keys().filter(move |stem| adopt && !named(stem))
    }

    /// Refuses a dropped module that would write what another flow writes already: every row would be there twice.
    /// The flow that runs, or that the configuration names, stays.
    fn refuse_doubles(&self, plans: &mut BTreeMap<String, Plan>, refused: &mut BTreeMap<String, String>) {
        let configured = |name: &str| self.process.config.flow.contains_key(name);
        let rank = |name: &str| (!configured(name), !self.flows.contains_key(name), name.to_owned());
        let mut names: Vec<String> = plans.keys().cloned().collect();
        names.sort_by_key(|name| rank(name));
        for (index, name) in names.iter().enumerate() {
            if configured(name) || !plans.contains_key(name) {
                continue;
            }
            let earlier = names[..index].iter().filter_map(|other| Some((other, plans.get(other)?)));
            let mut doubles = earlier.filter_map(|(other, plan)| Some((other, plans[name].doubles(plan)?)));
            if let Some((other, (topic, target))) = doubles.next() {
                let words = format!(
                    "{name}.wasm is not adopted: {other}.wasm already reads {topic} into {target}, so everything would be \
                     written twice; replace {other}.wasm, or configure [flow.{name}] with other topics or targets"
                );
                refused.insert(name.clone(), words);
                plans.remove(name);
            }
        }
    }

    /// Tries each chain that does not run yet as its flow would run it: a module that refuses the flow's variables, or
    /// fails its examples with them, must not displace the one that runs.
    fn refuse_unstartable(&self, plans: &mut BTreeMap<String, Plan>, refused: &mut BTreeMap<String, String>) {
        let runs = |name: &str, plan: &Plan| {
            self.flows.get(name).is_some_and(|running| running.plan().chain.digest == plan.chain.digest)
        };
        plans.retain(|name, plan| {
            if runs(name, plan) {
                return true;
            }
            match self.runtime.probe(&plan.chain) {
                Ok(()) => true,
                Err(error) => {
                    refused.insert(name.clone(), format!("{}: {}", error.code, error.message));
                    false
                }
            }
        });
    }
}
