//! What outlives the process where there is a store: the builds of each flow, and rollbacks.

use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::rollback::Past;
use super::{Plan, Supervisor, plan};
use crate::config::Flow;
use crate::modules::store::{Build, Kept, Ran, RolledBack};
use crate::runtime::Module;

/// Key of the problem of a store that cannot be written.
const STORE: &str = "modules store";

impl Supervisor {
    /// What the store knows of a flow of which the folder wants `plan` now.
    pub(super) fn recall(&self, name: &str, plan: &Arc<Plan>) -> Past {
        let past = Past { current: None, before: None, pinned: None, asked: Instant::now() };
        let Some(ran) = self.ran.get(name) else { return past };
        if let Some(back) = ran.rolled_back.as_ref().filter(|back| *back.from == *plan.chain.digest) {
            let (away, to) = (back.from.as_str(), back.to.digest());
            if let Some(instead) = self.kept_plan(name, &back.to) {
                warn!(flow = name, from = away, to, "still rolled back: the folder holds what was sent away");
                let pinned = Some((plan.chain.digest.clone(), instead));
                return Past { before: Some(plan.clone()), pinned, ..past };
            }
            warn!(flow = name, from = away, to, "a rollback has ended: the build of before is not in the store");
        }
        let others = ran.builds.iter().rev().filter(|build| build.digest() != *plan.chain.digest);
        let before = others.filter_map(|build| self.kept_plan(name, build)).next();
        Past { before, ..past }
    }

    /// A flow with modules of before, where they are at hand and still fit the configuration.
    fn kept_plan(&self, name: &str, build: &Build) -> Option<Arc<Plan>> {
        let config = &self.process.config;
        let configured = config.flow.get(name);
        let flow: Flow = configured.cloned().unwrap_or_default();
        let names = flow.modules.clone().unwrap_or_else(|| vec![name.to_owned()]);
        if !build.0.iter().map(|kept| &kept.name).eq(&names) {
            return None;
        }
        let module = |stem: &str| {
            let kept = build.0.iter().find(|kept| kept.name == stem)?;
            let in_folder = self.modules.get(stem).filter(|module| *module.digest == *kept.digest);
            in_folder.or_else(|| self.recalled.get(kept)).cloned()
        };
        let kept = plan(config, name, &flow, configured.is_none(), module).ok()?;
        match self.runtime.probe(&kept.chain) {
            Ok(()) => Some(Arc::new(kept)),
            Err(error) => {
                warn!(flow = name, digest = build.digest(), "a build of before cannot run any more: {error}");
                None
            }
        }
    }

    /// Writes down what runs and what is rolled back, where that has changed.
    pub(super) fn save_past(&mut self) {
        let Some(store) = self.store.clone() else { return };
        for (name, past) in &self.past {
            let Some(current) = &past.current else { continue };
            let mut ran = self.ran.get(name).cloned().unwrap_or_else(|| Ran { flow: name.clone(), ..Ran::default() });
            ran.runs(build_of(current));
            let back = |(from, to): &(Arc<str>, Arc<Plan>)| RolledBack { from: from.to_string(), to: build_of(to) };
            ran.rolled_back = past.pinned.as_ref().map(back);
            if self.ran.get(name) == Some(&ran) && !self.unsaved.contains(name) {
                continue;
            }
            match store.note(&ran) {
                Ok(()) => drop(self.unsaved.remove(name)),
                Err(words) => {
                    self.process.health.problem(STORE, words);
                    self.unsaved.insert(name.clone());
                }
            }
            self.ran.insert(name.clone(), ran);
        }
        if self.unsaved.is_empty() && self.unkept.is_none() {
            self.process.health.solved(STORE);
        }
    }

    /// Whether modules can be put into the store.
    pub(super) fn tell_store(&mut self, problem: Option<String>) {
        match &problem {
            Some(words) => self.process.health.problem(STORE, words.clone()),
            None if self.unsaved.is_empty() => self.process.health.solved(STORE),
            None => {}
        }
        self.unkept = problem;
    }
}

fn build_of(plan: &Plan) -> Build {
    let kept = |module: &Module| Kept { name: module.name.to_string(), digest: module.digest.to_string() };
    Build(plan.chain.steps.iter().map(|step| kept(&step.module)).collect())
}
